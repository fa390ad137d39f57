"""Anthropic."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import anthropic
from pydantic import BaseModel

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse

RELEASE = tuple(int(part) for part in version("anthropic").split(".")[:2])
TRACES_ITSELF = RELEASE >= (2,)
QUESTION = "When should I visit Kyoto?"
ANSWER = '{"month": "April"}'
SYSTEM = "Be brief."
MESSAGES = [{"role": "user", "content": QUESTION}]
SCHEMA = {
    "type": "object",
    "properties": {"month": {"type": "string"}},
    "required": ["month"],
    "additionalProperties": False,
}
USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 100,
    "output_tokens": 9,
    "service_tier": "standard",
}
ASKED = {"messages": MESSAGES, "system": SYSTEM, "max_tokens": 50, "stop_sequences": ["END"]}
SAMPLED = {"extra_body": {"temperature": 0.5, "top_k": 5}}
BETAS = {"betas": ["interleaved-thinking-2025-05-14"]}


class Trip(BaseModel):
    """A shape that answers are parsed into."""

    month: str


def untraced() -> dict[str, Any]:
    """What keeps a client that could trace itself from it."""
    return {"open_telemetry": False} if TRACES_ITSELF else {}


def connect(server: WireServer, is_async: bool, **options: Any) -> Any:
    """A client of the kind that is asked for."""
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    return kind(api_key="test", base_url=server.base_url, max_retries=0, **{**untraced(), **options})


def answers(request: WireRequest) -> WireAnswer:
    """What api.anthropic.com says."""
    body = request.body
    model = body["model"]
    if model == "error-429":
        error = {"type": "rate_limit_error", "message": "Rate limit reached"}
        return as_json({"type": "error", "error": error, "request_id": "req_1"}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "msg_')
    if request.path.partition("?")[0].endswith("/count_tokens"):
        return as_json({"input_tokens": 12})
    message = {
        "id": f"msg_{request.number}",
        "type": "message",
        "role": "assistant",
        "model": f"{model}-20251101",
        "content": content(body, model),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": None if model == "null-usage" else USAGE,
    }
    if message["content"] and message["content"][-1]["type"] == "tool_use":
        message["stop_reason"] = "tool_use"
    if body.get("stream"):
        return as_sse(events(message, model), named=True, is_cut=model == "cut-stream")
    return as_json(message, **{"request-id": f"req_{request.number}"})


def content(body: dict[str, Any], model: str) -> Any:
    """The blocks of the answer: a call of the first tool as long as there is no result of it, else a text."""
    if model in {"content-null", "no-choices"}:
        return None if model == "content-null" else []
    tools = [tool for tool in body.get("tools", ()) if "input_schema" in tool]
    last = body["messages"][-1]["content"]
    if tools and isinstance(last, str):
        return [{"type": "tool_use", "id": "toolu_1", "name": tools[0]["name"], "input": {"city": "Kyoto"}}]
    return [{"type": "text", "text": ANSWER, "citations": None}]


def events(message: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The events of a streamed answer."""
    if model == "empty-stream":
        return []
    usage = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "usage": usage and {**usage, "output_tokens": 1}}
    all_of_it: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(message["content"] or ()):
        all_of_it += block_events(index, block)
    last = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    told = usage and {"output_tokens": usage["output_tokens"]}
    all_of_it += [{"type": "message_delta", "delta": last, "usage": told}, {"type": "message_stop"}]
    return all_of_it[:4] if model == "cut-stream" else all_of_it


def block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block of a streamed answer."""
    if block["type"] == "text":
        begun, name, kind, whole = {**block, "text": ""}, "text", "text_delta", block["text"]
    elif block["type"] == "thinking":
        begun, name, kind, whole = {**block, "thinking": ""}, "thinking", "thinking_delta", block["thinking"]
    else:
        begun, name, kind, whole = (
            {**block, "input": {}},
            "partial_json",
            "input_json_delta",
            json.dumps(block["input"]),
        )
    half = len(whole) // 2
    deltas = [{"type": kind, name: piece} for piece in (whole[:half], whole[half:])]
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.max_tokens": 50,
    "gen_ai.request.stop_sequences": ("END",),
}
RESPONSE = {
    "gen_ai.response.id": "msg_1",
    "gen_ai.response.model": "model-1-20251101",
    "gen_ai.response.finish_reasons": ("end_turn",),
    "gen_ai.usage.input_tokens": 132,
    "gen_ai.usage.cache_read.input_tokens": 100,
    "gen_ai.usage.cache_write.input_tokens": 20,
    "gen_ai.usage.output_tokens": 9,
}
MESSAGE = {**REQUEST, **RESPONSE}
SAMPLED_MESSAGE = {**MESSAGE, "gen_ai.request.temperature": 0.5, "gen_ai.request.top_k": 5}
PARSED = {**MESSAGE, "gen_ai.output.type": "json"}
CONTENT = {
    "gen_ai.system_instructions": [{"type": "text", "content": SYSTEM}],
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}],
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "end_turn"}
    ],
}
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "content-null", "empty-stream", "cut-stream", "html")
PARSEABLE = ("no-choices", *(("null-usage",) if TRACES_ITSELF else ()), "not-json")
"""Before release 2 the client warns when an app dumps a parsed answer that has no usage."""
STABLE = ("no-choices", "content-null", "empty-stream", "cut-stream", "html")
"""Without a usage of null, which the client's own helper cannot add up."""


class Texts:
    """The texts of a stream helper, as an app reads them."""

    def __init__(self, helper: Any) -> None:
        self._helper = helper

    def __iter__(self) -> Any:
        return iter(self._helper.text_stream)

    @property
    def current_message_snapshot(self) -> Any:
        """The message so far."""
        return self._helper.current_message_snapshot


class AsyncTexts(Texts):
    """The same of an async one."""

    __iter__ = None

    def __aiter__(self) -> Any:
        return self._helper.text_stream.__aiter__()


@contextlib.contextmanager
def texts_of(manager: Any) -> Any:
    """A stream helper of which the texts are read."""
    with manager as helper:
        yield Texts(helper)


@contextlib.asynccontextmanager
async def async_texts_of(manager: Any) -> Any:
    """The same of an async one."""
    async with manager as helper:
        yield AsyncTexts(helper)


@contextlib.contextmanager
def parsed_stream(manager: Any) -> Any:
    """The stream of a response that is parsed when the app wants it."""
    with manager as response, response.parse() as stream:
        yield stream


@contextlib.asynccontextmanager
async def async_parsed_stream(manager: Any) -> Any:
    """The same of an async one."""
    async with manager as response, await response.parse() as stream:
        yield stream


def parse_open(manager: Any) -> Any:
    """What a response holds that is read when the app wants it."""
    with manager as response:
        return response.parse()


async def async_parse_open(manager: Any) -> Any:
    """The same of an async one."""
    async with manager as response:
        return await response.parse()


def so_far(_chunks: list[Any], helper: Any) -> Any:
    """What an app rates of a stream helper."""
    return helper.current_message_snapshot


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of client."""
    suffix = " async" if is_async else ""

    def style(name: str, call: Callable[[Any, str], Any], **more: Any) -> Style:
        given = {"span_name": "chat model-1", "attributes": MESSAGE, "content": CONTENT, "odd": UNARY, **more}
        return Style(name + suffix, call, is_async=is_async, **given)

    def streamed(name: str, call: Callable[[Any, str], Any], **more: Any) -> Style:
        return style(name, call, **{"is_stream": True, "odd": STREAMED, **more})

    async def async_raw_stream(client: Any, model: str) -> Any:
        raw = await client.messages.with_raw_response.create(model=model, stream=True, **ASKED)
        parsed = raw.parse()
        return await parsed if hasattr(parsed, "__await__") else parsed

    def raw_stream(client: Any, model: str) -> Any:
        return client.messages.with_raw_response.create(model=model, stream=True, **ASKED).parse()

    in_texts, in_stream = (async_texts_of, async_parsed_stream) if is_async else (texts_of, parsed_stream)
    of_schema = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    return [
        style(
            "messages.create",
            lambda client, model: client.messages.create(model=model, **ASKED, **SAMPLED),
            attributes=SAMPLED_MESSAGE,
        ),
        style(
            "messages.create raw",
            lambda client, model: client.messages.with_raw_response.create(model=model, **ASKED),
            reads=lambda raw: raw.parse(),
        ),
        style(
            "messages.create raw, unread",
            lambda client, model: client.messages.with_raw_response.create(model=model, **ASKED),
        ),
        style(
            "messages.create raw, open",
            lambda client, model: client.messages.with_streaming_response.create(model=model, **ASKED),
            reads=async_parse_open if is_async else parse_open,
        ),
        streamed(
            "messages.create streamed",
            lambda client, model: client.messages.create(model=model, stream=True, **ASKED, **SAMPLED),
            attributes=SAMPLED_MESSAGE,
        ),
        streamed("messages.create streamed raw", async_raw_stream if is_async else raw_stream),
        streamed(
            "messages.create streamed raw, open",
            lambda client, model: in_stream(
                client.messages.with_streaming_response.create(model=model, stream=True, **ASKED)
            ),
        ),
        streamed(
            "messages.stream",
            lambda client, model: client.messages.stream(model=model, **ASKED),
            rated=so_far,
            odd=STABLE,
        ),
        streamed(
            "messages.stream texts",
            lambda client, model: in_texts(client.messages.stream(model=model, **ASKED)),
            rated=so_far,
            odd=STABLE,
        ),
        style(
            "messages.parse",
            lambda client, model: client.messages.parse(model=model, output_format=Trip, **ASKED),
            attributes=PARSED,
            odd=PARSEABLE,
            from_version=(0, 77),
        ),
        style(
            "messages.create with a schema",
            lambda client, model: client.messages.create(model=model, **ASKED, **of_schema),
            attributes=PARSED,
            from_version=(0, 77),
        ),
        style(
            "beta.messages.create",
            lambda client, model: client.beta.messages.create(model=model, **ASKED, **BETAS),
            from_version=(0, 42),
        ),
        streamed(
            "beta.messages.create streamed",
            lambda client, model: client.beta.messages.create(model=model, stream=True, **ASKED, **BETAS),
            from_version=(0, 42),
        ),
        streamed(
            "beta.messages.stream",
            lambda client, model: client.beta.messages.stream(model=model, **ASKED, **BETAS),
            rated=so_far,
            odd=STABLE,
            from_version=(0, 50),
        ),
        style(
            "beta.messages.parse",
            lambda client, model: client.beta.messages.parse(model=model, output_format=Trip, **ASKED),
            attributes=PARSED,
            odd=PARSEABLE,
            from_version=(0, 77),
        ),
    ]


CASE = ClientCase(
    client="anthropic",
    distribution="anthropic",
    module="anthropic",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
