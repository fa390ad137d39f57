"""OpenAI's chat completions, legacy completions and embeddings, on the wire."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import TYPE_CHECKING, Any, Final, cast

from spanback.demo import _wire
from spanback.demo._answers import REFUSAL, Json, count_tokens, example_of, pieces, text_of
from spanback.demo._wire import Call, Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM_ERROR: Final = _wire.event(
    {
        "error": {
            "message": "The server had an error while processing your request.",
            "type": "server_error",
            "param": None,
            "code": "server_error",
        }
    }
)
_EMBEDDING_LENGTH: Final = 1_536


def chat(call: Call) -> Reply:
    """POST /chat/completions."""
    if call.body.get("stream"):
        return Reply(events=_chat_events(call), stream_error=STREAM_ERROR)
    messages = _messages(call)
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
        for index, (message, reason) in enumerate(messages)
    ]
    return Reply(
        body={
            "id": f"chatcmpl-{call.number:06d}",
            "object": "chat.completion",
            "created": _wire.CREATED,
            "model": call.response_model,
            "choices": None if call.is_forced("no-choices") else choices,
            "usage": None if call.is_forced("no-usage") else _chat_usage(call, messages),
            "service_tier": call.service_tier,
            "system_fingerprint": _wire.FINGERPRINT,
        }
    )


def _messages(call: Call) -> list[tuple[Json, str]]:
    """Each choice's message with the reason for its end."""
    return [_message(call, index) for index in range(int(call.body.get("n") or 1))]


def _message(call: Call, index: int) -> tuple[Json, str]:
    message: Json = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    tools = _wire.asked_tools(call, [tool["function"] for tool in call.body.get("tools") or [] if "function" in tool])
    if call.is_forced("content-null"):
        return message, "stop"
    if call.is_forced("refusal"):
        return {**message, "refusal": REFUSAL}, "stop"
    if tools:
        return {**message, "tool_calls": [_tool_call(tool) for tool in tools]}, "tool_calls"
    words = pieces(_text(call, index))
    limit = call.body.get("max_completion_tokens") or call.body.get("max_tokens")
    is_cut = limit is not None and len(words) > int(limit)
    return {**message, "content": "".join(words[:limit])}, "length" if is_cut else "stop"


def _text(call: Call, index: int) -> str:
    if call.is_forced("many-chunks"):
        return "word " * (call.behaviour.number or 0)
    response_format = cast("Json", call.body.get("response_format") or {})
    if response_format.get("type") == "json_schema":
        return _wire.to_json(example_of(response_format["json_schema"]["schema"]))
    if response_format.get("type") == "json_object":
        return _wire.to_json({"answer": call.text})
    return call.text if index == 0 else f"{call.text} (Answer {index + 1}.)"


def _tool_call(tool: ToolCall) -> Json:
    return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}


def _chat_usage(call: Call, messages: list[tuple[Json, str]]) -> Json:
    prompt = count_tokens(text_of(message.get("content")) for message in call.body.get("messages") or [])
    completion = sum(_output_tokens(message) for message, _ in messages) + call.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": prompt // 2, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": call.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _output_tokens(message: Json) -> int:
    tools = cast("list[Json]", message.get("tool_calls") or [])
    text = f"{message['content'] or ''}{message['refusal'] or ''}"
    return len(pieces(text)) + count_tokens(tool["function"]["arguments"] for tool in tools)


def _chat_events(call: Call) -> Iterator[bytes]:
    """The chunks: for each choice its role, its pieces and its end; then, if asked for, the usage; then `[DONE]`."""
    has_usage = bool((call.body.get("stream_options") or {}).get("include_usage"))
    head: Json = {
        "id": f"chatcmpl-{call.number:06d}",
        "object": "chat.completion.chunk",
        "created": _wire.CREATED,
        "model": call.response_model,
        "service_tier": call.service_tier,
        "system_fingerprint": _wire.FINGERPRINT,
    }
    usage: Json = {"usage": None} if has_usage else {}
    messages = _messages(call)
    deltas = [list(_deltas(message)) for message, _ in messages]
    for step in range(max(map(len, deltas))):
        for index, of_choice in enumerate(deltas):
            if step < len(of_choice):
                choice = {"index": index, "delta": of_choice[step], "logprobs": None, "finish_reason": None}
                yield _wire.event({**head, "choices": None if call.is_forced("no-choices") else [choice], **usage})
    for index, (_, reason) in enumerate(messages):
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}
        yield _wire.event({**head, "choices": None if call.is_forced("no-choices") else [choice], **usage})
    if has_usage and not call.is_forced("no-usage"):
        yield _wire.event({**head, "choices": [], "usage": _chat_usage(call, messages)})
    yield _wire.DONE


def _deltas(message: Json) -> Iterator[Json]:
    """A message as the deltas that add up to it."""
    tools = cast("list[Json]", message.get("tool_calls") or [])
    yield {"role": "assistant", "content": None if tools else "", "refusal": None}
    for piece in pieces(message["content"] or ""):
        yield {"content": piece}
    for piece in pieces(message["refusal"] or ""):
        yield {"refusal": piece}
    for index, tool in enumerate(tools):
        function = tool["function"]
        arguments = str(function["arguments"])
        yield {"tool_calls": [{"index": index, **tool, "function": {**function, "arguments": ""}}]}
        for start in range(0, len(arguments), 8):
            yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + 8]}}]}


def completion(call: Call) -> Reply:
    """POST /completions, the legacy endpoint."""
    is_streamed = bool(call.body.get("stream"))
    head: Json = {
        "id": f"cmpl-{call.number:06d}",
        "object": "text_completion",
        "created": _wire.CREATED,
        "model": call.response_model,
        "system_fingerprint": _wire.FINGERPRINT,
    }
    count = int(call.body.get("n") or 1)
    if is_streamed:
        return Reply(events=_completion_events(call, head, count), stream_error=STREAM_ERROR)
    choices = [
        {"index": index, "text": _text(call, index), "logprobs": None, "finish_reason": "stop"}
        for index in range(count)
    ]
    return Reply(
        body={
            **head,
            "choices": None if call.is_forced("no-choices") else choices,
            "usage": None if call.is_forced("no-usage") else _completion_usage(call, count),
        }
    )


def _completion_events(call: Call, head: Json, count: int) -> Iterator[bytes]:
    for index in range(count):
        words = pieces(_text(call, index))
        for position, word in enumerate(words, start=1):
            reason = "stop" if position == len(words) else None
            choice = {"index": index, "text": word, "logprobs": None, "finish_reason": reason}
            yield _wire.event({**head, "choices": None if call.is_forced("no-choices") else [choice]})
    if (call.body.get("stream_options") or {}).get("include_usage"):
        yield _wire.event({**head, "choices": [], "usage": _completion_usage(call, count)})
    yield _wire.DONE


def _completion_usage(call: Call, count: int) -> Json:
    prompt = count_tokens([call.question])
    output = sum(len(pieces(_text(call, index))) for index in range(count))
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def embeddings(call: Call) -> Reply:
    """POST /embeddings: vectors made of the input's hash, as floats or as base64 of little-endian float32."""
    given: Any = call.body.get("input")
    inputs: list[Any] = (
        given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    )
    length = int(call.body.get("dimensions") or _EMBEDDING_LENGTH)
    is_base64 = call.body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(_wire.to_json(item), length, is_base64)}
        for index, item in enumerate(inputs)
    ]
    tokens = sum(len(item) if isinstance(item, list) else count_tokens([str(item)]) for item in inputs)
    return Reply(
        body={
            "object": "list",
            "data": None if call.is_forced("no-choices") else data,
            "model": call.model,
            "usage": None if call.is_forced("no-usage") else {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _vector(text: str, length: int, is_base64: bool) -> list[float] | str:
    values = [(byte - 127.5) / 127.5 for byte in hashlib.shake_256(text.encode()).digest(length)]
    return base64.b64encode(struct.pack(f"<{length}f", *values)).decode() if is_base64 else values
