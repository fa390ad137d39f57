"""Amazon Bedrock through boto3."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.config import Config

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json

QUESTION = "When should I visit Kyoto?"
ANSWER = "In April."
WORDS = ("In", " April", ".")
CREDENTIALS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}


def connect(server: WireServer, is_async: bool) -> Any:
    """A client."""
    assert not is_async
    config = Config(retries={"total_max_attempts": 1}, read_timeout=5)
    return botocore.session.get_session().create_client(
        "bedrock-runtime", endpoint_url=server.base_url, config=config, **CREDENTIALS
    )


@dataclass(frozen=True)
class Family:
    """How the models of one maker are asked through InvokeModel, what they answer, and what of it is on the span."""

    request: Mapping[str, Any]
    response: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    attributes: Mapping[str, Any]
    streamed: Mapping[str, Any]
    operation: str = "chat"
    content: Mapping[str, Any] | None = field(default=None)


CONTENT = {
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}],
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ],
}
METRICS = {"inputTokenCount": 12, "outputTokenCount": 4, "invocationLatency": 90, "firstByteLatency": 20}
SETTINGS = {"gen_ai.request.temperature": 0.5, "gen_ai.request.max_tokens": 50}
TOKENS = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 4}


def ended(reason: str, **more: Any) -> dict[str, Any]:
    """The attributes of a usual call that ended for a reason."""
    return {**SETTINGS, **TOKENS, "gen_ai.response.finish_reasons": (reason,), **more}


NAMED = {"gen_ai.response.id": "msg_bdrk_1", "gen_ai.response.model": "claude-1"}
CHAT = [{"role": "user", "content": QUESTION}]
CHOICE = {"index": 0, "message": {"role": "assistant", "content": ANSWER}}
COMPLETED = {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE"}
FAMILIES = {
    "anthropic": Family(
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "temperature": 0.5, "messages": CHAT},
        {
            "id": "msg_bdrk_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-1",
            "content": [{"type": "text", "text": ANSWER}],
            "stop_reason": "stop",
            "usage": {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 4},
        },
        (
            {
                "type": "message_start",
                "message": {
                    "id": "msg_bdrk_1",
                    "model": "claude-1",
                    "usage": {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 1},
                },
            },
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                for word in WORDS
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "stop"}, "usage": {"output_tokens": 4}},
            {
                "type": "message_stop",
                "amazon-bedrock-invocationMetrics": {
                    **METRICS,
                    "inputTokenCount": 7,
                    "cacheReadInputTokenCount": 5,
                },
            },
        ),
        ended("stop", **NAMED, **{"gen_ai.usage.cache_read.input_tokens": 5}),
        ended("stop", **NAMED, **{"gen_ai.usage.cache_read.input_tokens": 5}),
        content=CONTENT,
    ),
    "amazon nova": Family(
        {
            "schemaVersion": "messages-v1",
            "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
            "inferenceConfig": {"max_new_tokens": 50, "temperature": 0.5},
        },
        {
            "output": {"message": {"role": "assistant", "content": [{"text": ANSWER}]}},
            "stopReason": "stop",
            "usage": {"inputTokens": 12, "outputTokens": 4, "totalTokens": 16},
        },
        (
            {"messageStart": {"role": "assistant"}},
            *({"contentBlockDelta": {"delta": {"text": word}, "contentBlockIndex": 0}} for word in WORDS),
            {"contentBlockStop": {"contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "stop"}},
            {
                "metadata": {"usage": {"inputTokens": 12, "outputTokens": 4}},
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop"),
        ended("stop"),
        content=CONTENT,
    ),
    "amazon titan": Family(
        {"inputText": QUESTION, "textGenerationConfig": {"maxTokenCount": 50, "temperature": 0.5}},
        {
            "inputTextTokenCount": 12,
            "results": [{"tokenCount": 4, "outputText": ANSWER, "completionReason": "stop"}],
        },
        (
            {"outputText": "In", "index": 0, "completionReason": None, "inputTextTokenCount": 12},
            {"outputText": " April", "index": 0, "completionReason": None, "inputTextTokenCount": None},
            {
                "outputText": ".",
                "index": 0,
                "completionReason": "stop",
                "totalOutputTextTokenCount": 4,
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop"),
        ended("stop"),
        operation="text_completion",
        content=CONTENT,
    ),
    "meta": Family(
        {"prompt": QUESTION, "max_gen_len": 50, "temperature": 0.5},
        {"generation": ANSWER, "prompt_token_count": 12, "generation_token_count": 4, "stop_reason": "stop"},
        (
            {"generation": "In", "prompt_token_count": 12, "generation_token_count": 1, "stop_reason": None},
            {"generation": " April", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None},
            {"generation": ".", "prompt_token_count": None, "generation_token_count": 3, "stop_reason": None},
            {
                "generation": "",
                "prompt_token_count": None,
                "generation_token_count": 4,
                "stop_reason": "stop",
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop"),
        ended("stop"),
        operation="text_completion",
        content=CONTENT,
    ),
    "mistral": Family(
        {"prompt": QUESTION, "max_tokens": 50, "temperature": 0.5},
        {"outputs": [{"text": ANSWER, "stop_reason": "stop"}]},
        (
            *({"outputs": [{"text": word, "stop_reason": None}]} for word in WORDS),
            {"outputs": [{"text": "", "stop_reason": "stop"}], "amazon-bedrock-invocationMetrics": METRICS},
        ),
        ended("stop"),
        ended("stop"),
        operation="text_completion",
        content=CONTENT,
    ),
    "mistral chat": Family(
        {"messages": CHAT, "max_tokens": 50, "temperature": 0.5},
        {"choices": [{**CHOICE, "stop_reason": "stop"}]},
        (
            *({"choices": [{"index": 0, "message": {"content": word}, "stop_reason": None}]} for word in WORDS),
            {
                "choices": [{"index": 0, "message": {"content": ""}, "stop_reason": "stop"}],
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop"),
        ended("stop"),
        content=CONTENT,
    ),
    "cohere": Family(
        {"message": QUESTION, "max_tokens": 50, "temperature": 0.5},
        {"response_id": "resp-1", "generation_id": "gen-1", "text": ANSWER, "finish_reason": "stop"},
        (
            *({"is_finished": False, "event_type": "text-generation", "text": word} for word in WORDS),
            {
                **COMPLETED,
                "finish_reason": "stop",
                "response": {"response_id": "resp-1", "generation_id": "gen-1", "text": ANSWER},
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop", **{"gen_ai.response.id": "resp-1"}),
        ended("stop", **{"gen_ai.response.id": "resp-1"}),
        content=CONTENT,
    ),
    "cohere command": Family(
        {"prompt": QUESTION, "max_tokens": 50, "temperature": 0.5, "p": 0.9, "k": 3, "stream": True},
        {"id": "cmd-1", "generations": [{"id": "gen-1", "text": ANSWER, "finish_reason": "stop"}]},
        (
            *({"index": 0, "is_finished": False, "text": word} for word in WORDS),
            {
                "index": 0,
                "is_finished": True,
                "finish_reason": "stop",
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop", **{"gen_ai.request.top_p": 0.9, "gen_ai.request.top_k": 3, "gen_ai.response.id": "cmd-1"}),
        ended("stop", **{"gen_ai.request.top_p": 0.9, "gen_ai.request.top_k": 3}),
        operation="text_completion",
        content=CONTENT,
    ),
    "ai21": Family(
        {"messages": CHAT, "max_tokens": 50, "temperature": 0.5, "n": 1},
        {
            "id": "cmpl-1",
            "choices": [{**CHOICE, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16},
        },
        (
            *(
                {"id": "cmpl-1", "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
                for word in WORDS
            ),
            {
                "id": "cmpl-1",
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 4},
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ),
        ended("stop", **{"gen_ai.response.id": "cmpl-1"}),
        ended("stop", **{"gen_ai.response.id": "cmpl-1"}),
        content=CONTENT,
    ),
    "ai21 jurassic": Family(
        {"prompt": QUESTION, "maxTokens": 50, "temperature": 0.5, "numResults": 1},
        {"id": 1234, "completions": [{"data": {"text": ANSWER}, "finishReason": {"reason": "stop"}}]},
        (),
        ended("stop"),
        {},
        operation="text_completion",
        content=CONTENT,
    ),
    "titan embeddings": Family(
        {"inputText": QUESTION, "dimensions": 256},
        {"embedding": [0.1, 0.2], "inputTextTokenCount": 5},
        (),
        {"gen_ai.embeddings.dimension.count": 256, "gen_ai.usage.input_tokens": 5},
        {},
        operation="embeddings",
        content={},
    ),
    "cohere embeddings": Family(
        {"texts": [QUESTION], "input_type": "search_query", "embedding_types": ["float"]},
        {"id": "emb-1", "embeddings": {"float": [[0.1, 0.2]]}, "texts": [QUESTION]},
        (),
        {
            "gen_ai.request.encoding_formats": ("float",),
            "gen_ai.usage.input_tokens": 12,
        },
        {},
        operation="embeddings",
        content={},
    ),
}
"""What a family does not say itself, the service tells: in headers, and with the last event of a stream."""
IN_HEADERS = {
    "cohere": {"x-amzn-bedrock-input-token-count": "12", "x-amzn-bedrock-output-token-count": "4"},
    "mistral": {"x-amzn-bedrock-input-token-count": "12", "x-amzn-bedrock-output-token-count": "4"},
    "mistral chat": {"x-amzn-bedrock-input-token-count": "12", "x-amzn-bedrock-output-token-count": "4"},
    "cohere command": {"x-amzn-bedrock-input-token-count": "12", "x-amzn-bedrock-output-token-count": "4"},
    "ai21 jurassic": {"x-amzn-bedrock-input-token-count": "12", "x-amzn-bedrock-output-token-count": "4"},
    "cohere embeddings": {"x-amzn-bedrock-input-token-count": "12"},
}


def frame(payload: Any, kind: str, message_type: str = "event") -> bytes:
    """One message of an event stream, as AWS frames it: prelude, headers, payload, each with its checksum."""
    name = ":event-type" if message_type == "event" else ":exception-type"
    headers = {name: kind, ":content-type": "application/json", ":message-type": message_type}
    packed = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for key, value in headers.items()
    )
    content = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(packed) + len(content), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + content
    return message + struct.pack("!I", zlib.crc32(message))


def as_frames(frames: list[bytes], *, is_cut: bool = False, **headers: str) -> WireAnswer:
    """An event stream, each message in a piece of its own."""
    given = {"content-type": "application/vnd.amazon.eventstream", **headers}
    return WireAnswer(iter(frames), headers=given, is_cut=is_cut)


def chunk(event: Any) -> bytes:
    """A message of `invoke_model_with_response_stream`."""
    return frame({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}, "chunk")


def family_of(body: Mapping[str, Any]) -> str:
    """The family whose request a body is."""
    return next(name for name, family in FAMILIES.items() if family.request == body)


def answers(request: WireRequest) -> WireAnswer:
    """What the runtime of Bedrock says."""
    _, _, model, action = unquote(request.path).split("/", 3)
    named = {"x-amzn-requestid": f"request-{request.number}"}
    if model == "error-429":
        return as_json({"message": "Too many tokens"}, 429, **named, **{"x-amzn-errortype": "ThrottlingException"})
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html", **named})
    if model == "not-json":
        return WireAnswer(b'{"output": ', headers={"content-type": "application/json", **named})
    if action.endswith("stream"):
        frames = list(stream_of(action, model, request.body))
        if model == "cut-stream":
            frames = frames[: len(frames) // 2]
        return as_frames([] if model == "empty-stream" else frames, is_cut=model == "cut-stream", **named)
    family = family_of(request.body) if action == "invoke" else ""
    whole = dict(FAMILIES[family].response) if family else converse_answer()
    if model == "no-choices":
        whole = {}
    if model in {"null-usage", "content-null"}:
        whole = dict.fromkeys(whole)
    return as_json(whole, **named, **IN_HEADERS.get(family, {}))


USAGE = {"inputTokens": 7, "outputTokens": 4, "totalTokens": 16, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}


def converse_answer() -> dict[str, Any]:
    """What Converse answers."""
    message = {"role": "assistant", "content": [{"text": ANSWER}]}
    return {"output": {"message": message}, "stopReason": "stop", "usage": USAGE, "metrics": {"latencyMs": 90}}


def stream_of(action: str, model: str, body: Any) -> Iterator[bytes]:
    """The messages of a streamed answer."""
    if action == "invoke-with-response-stream":
        for event in FAMILIES[family_of(body)].events:
            yield chunk({} if model == "no-choices" else dict.fromkeys(event) if model == "null-usage" else event)
        return
    words = () if model == "no-choices" else WORDS
    yield frame({"role": "assistant"}, "messageStart")
    for word in words:
        delta = {} if model == "content-null" else {"text": word}
        yield frame({"delta": delta, "contentBlockIndex": 0}, "contentBlockDelta")
    yield frame({"contentBlockIndex": 0}, "contentBlockStop")
    yield frame({"stopReason": "stop"}, "messageStop")
    yield frame({"usage": None if model == "null-usage" else USAGE, "metrics": {"latencyMs": 90}}, "metadata")


class Held:
    """What an app has of a streamed call: the stream, and the id of the request."""

    def __init__(self, result: Any) -> None:
        self.request_id = result["ResponseMetadata"]["RequestId"]
        self._stream = result["stream" if "stream" in result else "body"]
        self.close = self._stream.close

    def __iter__(self) -> Any:
        return iter(self._stream)


class AsyncHeld(Held):
    """The same of an async client."""

    def __aiter__(self) -> Any:
        return self._stream.__aiter__()


def by_request_id(chunks: list[Any], held: Held) -> dict[str, Any]:
    """What an app rates after a stream: chunks bear no id, so it is the request's."""
    return {"chunks": chunks, "ResponseMetadata": {"RequestId": held.request_id}}


def without_headers(result: Mapping[str, Any]) -> dict[str, Any]:
    """A response as an app may keep it; headers have the time of day."""
    return {**result, "ResponseMetadata": {"RequestId": result["ResponseMetadata"]["RequestId"]}}


CONVERSATION = {
    "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
    "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
    "system": [{"text": "Be brief."}],
    "guardrailConfig": {"guardrailIdentifier": "gr-1", "guardrailVersion": "1"},
    "additionalModelRequestFields": {"top_k": 3},
}
COMMON = {"gen_ai.provider.name": "aws.bedrock", "gen_ai.request.model": "model-1"}
CONVERSE = {
    **COMMON,
    **ended("stop"),
    "gen_ai.operation.name": "chat",
    "gen_ai.request.top_p": 0.9,
    "gen_ai.request.top_k": 3,
    "gen_ai.request.stop_sequences": ("END",),
    "aws.bedrock.guardrail.id": "gr-1",
    "gen_ai.usage.cache_read.input_tokens": 3,
    "gen_ai.usage.cache_write.input_tokens": 2,
}
CONVERSE_CONTENT = {**CONTENT, "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}]}
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "empty-stream", "html")


def read_whole(result: Any) -> dict[str, Any]:
    """Reads the body at once."""
    return without_headers({**result, "body": result["body"].read()})


def invoke_style(name: str, family: Family, **more: Any) -> Style:
    """A style of InvokeModel for a family of models, whole or streamed."""
    is_stream = more.get("is_stream", False)
    given = {
        "span_name": f"{family.operation} model-1",
        "attributes": {
            **COMMON,
            "gen_ai.operation.name": family.operation,
            **(family.streamed if is_stream else family.attributes),
        },
        "content": family.content,
        "error_type": "ThrottlingException",
        "odd": STREAMED if is_stream else UNARY,
        **({"rated": by_request_id} if is_stream else {"reads": read_whole}),
    }
    return Style(name, **{**given, **more})


def styles() -> list[Style]:
    """Every way of calling the client."""
    converse = {
        "span_name": "chat model-1",
        "attributes": CONVERSE,
        "content": CONVERSE_CONTENT,
        "error_type": "ThrottlingException",
    }
    found = [
        Style(
            "converse",
            lambda client, model: client.converse(modelId=model, **CONVERSATION),
            rated=without_headers,
            odd=UNARY,
            **converse,
        ),
        Style(
            "converse_stream",
            lambda client, model: Held(client.converse_stream(modelId=model, **CONVERSATION)),
            rated=by_request_id,
            is_stream=True,
            odd=STREAMED,
            **converse,
        ),
    ]
    for name, family in FAMILIES.items():
        body = json.dumps(family.request)
        found.append(
            invoke_style(
                f"invoke_model {name}",
                family,
                call=lambda client, model, body=body: client.invoke_model(modelId=model, body=body),
            )
        )
        if family.events:
            found.append(
                invoke_style(
                    f"invoke_model_with_response_stream {name}",
                    family,
                    is_stream=True,
                    call=lambda client, model, body=body: Held(
                        client.invoke_model_with_response_stream(modelId=model, body=body)
                    ),
                )
            )
    return found


CASE = ClientCase(
    client="bedrock",
    distribution="botocore",
    module="botocore",
    connect=connect,
    answers=answers,
    styles=styles(),
    note="; async through `aiobotocore`",
)
