"""LiteLLM: a provider that it reaches through OpenAI's client, one that it reaches by itself, and its Responses API."""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks GitHub for the prices of models

import litellm
import openai

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse

MESSAGES = [{"role": "user", "content": "When should I visit Kyoto?"}]
ANSWER = "In April."
WORDS = ("In", " April", ".")
USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
CLAUDE_USAGE = {"input_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 4}
INPUT_USAGE = {
    "input_tokens": 12,
    "output_tokens": 4,
    "total_tokens": 16,
    "output_tokens_details": {"reasoning_tokens": 2},
}
NOT_SAID = (
    "error",
    "incomplete_details",
    "instructions",
    "metadata",
    "temperature",
    "top_p",
    "max_output_tokens",
    "previous_response_id",
    "reasoning",
    "text",
    "truncation",
    "user",
)

HTTP = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
"""The HTTP library of the `openai` that is installed: httpx2 since its release 3."""

RELEASE = tuple(int(part) for part in version("litellm").split(".")[:2])
MAKES_IDS = RELEASE < (1, 83)
"""Whether streams get an id that LiteLLM makes by itself."""

litellm.suppress_debug_info = True
litellm.disable_streaming_logging = True  # else its threads hold a stream that an app has dropped
litellm.disable_aiohttp_transport = True  # its sessions outlive what closes them


class SomeText:
    """Equals every text: LiteLLM makes ids of its own, which are random or differ between its releases."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(other)


class Sync:
    """A stream that an app reads with `for`. LiteLLM's have the methods of both kinds, and serve only one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Any:
        """The stream itself."""
        return iter(self._stream)


def for_app(result: Any, arguments: Mapping[str, Any], *, is_async: bool) -> Any:
    """What a function gave, with what is needed to read it as an app does.

    LiteLLM itself holds what its last call gave, until the next one.
    """
    litellm.error_logs.clear()
    return Sync(result) if arguments.get("stream") and not is_async else result


class Client:
    """What an app gives each call, since LiteLLM has functions and no client."""

    def __init__(self, server: WireServer, is_async: bool) -> None:
        warnings.filterwarnings(
            "ignore", "Accessing the 'model_", DeprecationWarning
        )  # LiteLLM does, over new pydantics
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)  # in its own logging, as well
        litellm.aclient_session = HTTP.AsyncClient() if is_async else None  # else it leaves some of its own open
        self.is_async = is_async
        self._leaves_sockets = False
        self.given = {"api_key": "test", "max_retries": 0}
        self.base_url = server.base_url

    def call(self, name: str, **arguments: Any) -> Any:
        """Calls a function of LiteLLM, or its async twin."""
        self._leaves_sockets |= name == "text_completion" and not self.is_async
        function = getattr(litellm, f"a{name}" if self.is_async else name)
        path = "" if arguments["model"].startswith("anthropic/") else "/v1"
        result = function(api_base=self.base_url + path, **self.given, **arguments)
        return for_app(result, arguments, is_async=self.is_async)

    def message(self, model: str, **arguments: Any) -> Any:
        """Asks for a message in Anthropic's format; the first releases have but an async function for that."""
        interface = getattr(litellm, "anthropic", None)
        functions = interface and interface.messages
        function = getattr(functions, "acreate" if self.is_async else "create", None) or litellm.anthropic_messages
        path = "" if model.startswith("anthropic/") else "/v1"
        return function(model=model, api_base=self.base_url + path, api_key="test", **arguments)

    async def aclose(self) -> None:
        """Closes the clients that LiteLLM keeps for later calls: they belong to a loop that will be gone."""
        kept = litellm.in_memory_llm_clients_cache
        for client in list(kept.cache_dict.values()):
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            closing = close() if close is not None else None
            if inspect.isawaitable(closing):
                await closing
            if client is vars(litellm).get("module_level_aclient"):
                del litellm.module_level_aclient  # which is made anew when it is asked for
        kept.flush_cache()
        if litellm.aclient_session is not None:
            await litellm.aclient_session.aclose()
            litellm.aclient_session = None
        if self._leaves_sockets:  # to the garbage collector, which might find them in a test that has none
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


def answers(request: WireRequest) -> WireAnswer:
    """What the providers say."""
    body = request.body
    model = body["model"]
    if model == "error-429":
        return as_json({"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit"}}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "chatcmpl-')
    if request.path.endswith("/embeddings"):
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        return as_json(
            {"object": "list", "model": model, "data": vectors, "usage": {"prompt_tokens": 5, "total_tokens": 5}}
        )
    if request.path.endswith("/messages"):
        return claude(request, model)
    if request.path.endswith("/responses"):
        return responses(request, model)
    head = {"id": f"chatcmpl-{request.number}", "created": 1763700000, "model": model}
    if not request.path.endswith("/chat/completions"):
        return prompted(head, body)
    if body.get("stream"):
        return as_sse(chunks(head, body), done=True, is_cut=model == "cut-stream")
    message = {"role": "assistant", "content": None if model == "content-null" else ANSWER}
    choices = [] if model == "no-choices" else [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = None if model == "null-usage" else USAGE
    return as_json({**head, "object": "chat.completion", "choices": choices, "usage": usage})


def chunks(head: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a streamed completion; with the usage where it is asked for, as OpenAI does."""
    model = body["model"]
    if model == "empty-stream":
        return []

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choices = [] if model == "no-choices" else [{"index": 0, "delta": delta, "finish_reason": reason}]
        return {**head, "object": "chat.completion.chunk", "choices": choices}

    words = [None if model == "content-null" else word for word in WORDS]
    all_of_it = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in words),
        chunk({}, "stop"),
    ]
    if (body.get("stream_options") or {}).get("include_usage") and model != "null-usage":
        all_of_it.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    return all_of_it[:2] if model == "cut-stream" else all_of_it


def prompted(head: dict[str, Any], body: dict[str, Any]) -> WireAnswer:
    """A text completion, whole or streamed."""
    model = body["model"]

    def one(text: str | None, reason: str | None) -> dict[str, Any]:
        given = None if model == "content-null" else text
        choices = [] if model == "no-choices" else [{"index": 0, "text": given, "finish_reason": reason}]
        return {**head, "object": "text_completion", "choices": choices}

    if not body.get("stream"):
        return as_json({**one(ANSWER, "stop"), "usage": None if model == "null-usage" else USAGE})
    pieces = [*(one(word, None) for word in WORDS), one("", "stop")]
    return as_sse(pieces[:2] if model == "cut-stream" else pieces, done=True, is_cut=model == "cut-stream")


def claude(request: WireRequest, model: str) -> WireAnswer:
    """What api.anthropic.com says."""
    head = {"id": f"msg_{request.number}", "type": "message", "role": "assistant", "model": model}
    rest = {"stop_reason": "end_turn", "stop_sequence": None}
    if not request.body.get("stream"):
        return as_json({**head, **rest, "content": [{"type": "text", "text": ANSWER}], "usage": CLAUDE_USAGE})
    begin = {**head, "content": [], "stop_reason": None, "usage": {**CLAUDE_USAGE, "output_tokens": 1}}
    events = [
        {"type": "message_start", "message": begin},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": rest, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    return as_sse([] if model == "empty-stream" else events, named=True)


def responses(request: WireRequest, model: str) -> WireAnswer:
    """What the Responses API of OpenAI says."""
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    whole = {
        "id": f"resp_{request.number}",
        "object": "response",
        "created_at": 1763700000,
        "model": model,
        "status": "completed",
        "output": [message],
        "usage": None if model == "null-usage" else INPUT_USAGE,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **dict.fromkeys(NOT_SAID),  # which the first releases insist on
    }
    if not request.body.get("stream"):
        return as_json(whole)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in WORDS),
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": whole},
    ]
    return as_sse([{**event, "sequence_number": number} for number, event in enumerate(events)], done=True)


REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
}
TOKENS = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 4}
FINISHED = {"gen_ai.response.model": "model-1", "gen_ai.response.finish_reasons": ("stop",)}
CHAT = {**REQUEST, **FINISHED, "gen_ai.response.id": "chatcmpl-1"}
CHAT_STREAM = {**CHAT, "gen_ai.response.id": SomeText() if MAKES_IDS else "chatcmpl-1"}
TEXT = {"gen_ai.operation.name": "text_completion"}
RESPONSE = {
    "gen_ai.response.id": SomeText(),
    **{name: value for name, value in REQUEST.items() if not name.endswith("tokens")},
    **FINISHED,
    **TOKENS,
    "gen_ai.usage.reasoning.output_tokens": 2,
    "gen_ai.request.max_tokens": 50,
}
INPUT = [{"role": "user", "parts": [{"type": "text", "content": "When should I visit Kyoto?"}]}]
CONTENT = {
    "gen_ai.input.messages": INPUT,
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ],
}
MESSAGE = {
    **REQUEST,
    **TOKENS,
    "gen_ai.response.id": SomeText(),
    "gen_ai.response.model": "model-1",
    "gen_ai.response.finish_reasons": ("end_turn",),
}
CLAUDE_MESSAGE = {
    **MESSAGE,
    "gen_ai.provider.name": "anthropic",
    "gen_ai.response.id": "msg_1",
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.cache_write.input_tokens": 3,
}
MESSAGE_CONTENT = {
    "gen_ai.input.messages": INPUT,
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "end_turn"}
    ],
}
CLAUDE_ERROR = (
    "HTTPStatusError" if RELEASE < (1, 83) else "BaseLLMException" if RELEASE < (1, 106) else "RateLimitError"
)
"""What LiteLLM raises where it passes on what Anthropic says."""
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "content-null", "cut-stream")  # the others get an id that is random


def chat(client: Any, model: str, **more: Any) -> Any:
    """A chat completion."""
    return client.call("completion", model=model, messages=MESSAGES, temperature=0.5, max_tokens=50, **more)


def openai_chat(**more: Any) -> Callable[[Any, str], Any]:
    """A call of the provider that is reached through OpenAI's client."""
    return lambda client, model: chat(client, f"openai/{model}", **more)


def text(**more: Any) -> Callable[[Any, str], Any]:
    """A text completion, which for most providers is a chat in disguise."""

    def call(client: Any, model: str) -> Any:
        prompt = MESSAGES[0]["content"]
        return client.call(
            "text_completion", model=f"openai/{model}", prompt=prompt, temperature=0.5, max_tokens=50, **more
        )

    return call


def response(**more: Any) -> Callable[[Any, str], Any]:
    """A response of the Responses API."""

    def call(client: Any, model: str) -> Any:
        asked = MESSAGES[0]["content"]
        arguments = {"input": asked, "temperature": 0.5, "max_output_tokens": 50, **more}
        return client.call("responses", model=f"openai/{model}", **arguments)

    return call


def message(provider: str, **more: Any) -> Callable[[Any, str], Any]:
    """A message in Anthropic's format."""
    asked = {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 50, **more}
    return lambda client, model: client.message(f"{provider}/{model}", **asked)


def message_id(chunks: list[bytes], _stream: Any = None) -> str:
    """What an app can rate of a streamed message: the id that its first event bears."""
    return json.loads(chunks[0].partition(b"data: ")[2])["message"]["id"]


class Router:
    """A router over one deployment of each model."""

    def __init__(self, client: Any, model: str) -> None:
        given = {"model": f"openai/{model}", "api_base": f"{client.base_url}/v1", **client.given}
        self._router = litellm.Router([{"model_name": "any", "litellm_params": given}], num_retries=0)
        self._is_async = client.is_async

    def call(self, name: str, **more: Any) -> Any:
        """Calls a method of the router, or its async twin."""
        function = getattr(self._router, f"a{name}" if self._is_async else name)
        return for_app(function(model="any", **more), more, is_async=self._is_async)


def routed_chat(**more: Any) -> Callable[[Any, str], Any]:
    """A chat completion through a router."""
    asked = {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 50, **more}
    return lambda client, model: Router(client, model).call("completion", **asked)


def routed_response(**more: Any) -> Callable[[Any, str], Any]:
    """A response through a router."""
    asked = {"input": MESSAGES[0]["content"], "temperature": 0.5, "max_output_tokens": 50, **more}
    return lambda client, model: Router(client, model).call("responses", **asked)


def routed_message(**more: Any) -> Callable[[Any, str], Any]:
    """A message in Anthropic's format through a router."""
    asked = {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 50, **more}
    return lambda client, model: Router(client, model).call("anthropic_messages", **asked)


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of function."""
    suffix = " async" if is_async else ""

    def style(name: str, call: Any, **more: Any) -> Style:
        given = {
            "span_name": "chat model-1",
            "attributes": {**CHAT, **TOKENS},
            "content": CONTENT,
            "odd": UNARY,
            **more,
        }
        return Style(name + suffix, call, is_async=is_async, **given)

    def streamed(name: str, call: Any, **more: Any) -> Style:
        return style(f"{name} streamed", call, is_stream=True, **{"attributes": CHAT_STREAM, "odd": STREAMED, **more})

    def embedding(name: str, call: Any) -> Style:
        attributes = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "model-1",
            "gen_ai.response.model": "model-1",
            "gen_ai.usage.input_tokens": 5,
        }
        return style(
            name, call, span_name="embeddings model-1", attributes=attributes, content={}, odd=("html", "not-json")
        )

    def message_styles() -> list[Style]:
        given = {
            "attributes": MESSAGE,
            "content": MESSAGE_CONTENT,
            "odd": ("html", "not-json"),
            "from_version": (1, 83),
        }
        if not is_async:  # it calls the function of the Responses API, which has the span
            given |= {"attributes": RESPONSE, "content": CONTENT}
            return [style("anthropic.messages.create", message("openai"), **given)]
        of_claude = {**given, "attributes": CLAUDE_MESSAGE, "error_type": CLAUDE_ERROR, "from_version": (0,)}
        return [
            style("anthropic.messages.create", message("openai"), **given),
            streamed(
                "anthropic.messages.create", message("openai", stream=True), **{**given, "rated": message_id, "odd": ()}
            ),
            style("anthropic.messages.create of Anthropic", message("anthropic"), **of_claude),
            streamed(
                "anthropic.messages.create of Anthropic",
                message("anthropic", stream=True),
                **{**of_claude, "rated": message_id, "odd": ("empty-stream",)},
            ),
            style("Router.anthropic_messages", routed_message(), **given),
            streamed(
                "Router.anthropic_messages", routed_message(stream=True), **{**given, "rated": message_id, "odd": ()}
            ),
        ]

    with_usage = {"stream": True, "stream_options": {"include_usage": True}}
    return [
        style("completion", openai_chat()),
        streamed("completion", openai_chat(stream=True)),
        streamed("completion with usage", openai_chat(**with_usage), attributes={**CHAT_STREAM, **TOKENS}),
        style("text_completion", text(), span_name="text_completion model-1", attributes={**CHAT, **TEXT, **TOKENS}),
        streamed(
            "text_completion",
            text(stream=True),
            span_name="text_completion model-1",
            attributes={**CHAT_STREAM, **TEXT},
        ),
        embedding(
            "embedding", lambda client, model: client.call("embedding", model=f"openai/{model}", input=["Kyoto"])
        ),
        style("responses", response(), attributes=RESPONSE, odd=("null-usage", "html", "not-json")),
        streamed("responses", response(stream=True), attributes=RESPONSE, odd=("null-usage",)),
        style("Router.completion", routed_chat()),
        streamed("Router.completion", routed_chat(stream=True)),
        embedding("Router.embedding", lambda client, model: Router(client, model).call("embedding", input=["Kyoto"])),
        style("Router.responses", routed_response(), attributes=RESPONSE, odd=("null-usage", "html", "not-json")),
        streamed("Router.responses", routed_response(stream=True), attributes=RESPONSE, odd=("null-usage",)),
        *message_styles(),
    ]


CASE = ClientCase(
    client="litellm",
    distribution="litellm",
    module="litellm",
    connect=Client,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
