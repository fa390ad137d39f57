"""OpenAI's Responses API on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from spanback.demo import _wire
from spanback.demo._answers import REFUSAL, Json, count_tokens, example_of, pieces, text_of
from spanback.demo._wire import Call, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

_ECHOED: Final[Json] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, with the defaults."""

_OUTCOMES: Final = {"failed-response": "failed", "incomplete-response": "incomplete"}


def messages_of(body: Json) -> list[Json]:
    """The input as a list of messages and other items; a plain text is one message of the user."""
    given: Any = body.get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given or [])


def finished(call: Call) -> Json:
    """The response as it is in the end."""
    output = _output(call)
    limit = call.body.get("max_output_tokens")
    is_cut = limit is not None and len(pieces(call.text)) > int(limit)
    status = _OUTCOMES.get(call.behaviour.name, "incomplete" if is_cut else "completed")
    reason = {"reason": "max_output_tokens"}
    failure = {"code": "server_error", "message": "The model failed to answer."}
    echoed = {key: call.body[key] if call.body.get(key) is not None else value for key, value in _ECHOED.items()}
    return {
        "id": f"resp_{call.number:06d}",
        "object": "response",
        "created_at": float(_wire.CREATED),
        "status": status,
        "background": bool(call.body.get("background")),
        "error": failure if status == "failed" else None,
        "incomplete_details": reason if status == "incomplete" else None,
        "model": call.response_model,
        "output": None if call.is_forced("no-choices") else [] if status == "failed" else output,
        "service_tier": call.service_tier,
        "usage": None if call.is_forced("no-usage") or status == "failed" else _usage(call, output),
        **echoed,
    }


def queued(response: Json) -> Json:
    """The same response as it is before its work begins: `background` answers with this one."""
    return {**response, "status": "queued", "output": [], "usage": None, "error": None, "incomplete_details": None}


def create(call: Call, response: Json) -> Reply:
    """POST /responses."""
    if call.body.get("stream"):
        return stream(response)
    return Reply(body=queued(response) if call.body.get("background") else response)


def stream(response: Json, starting_after: int = -1) -> Reply:
    """The events that lead to a response, those after a sequence number only when one is given."""
    failure = {"code": "server_error", "message": "The server had an error.", "param": None, "sequence_number": 99}
    stream_error = _wire.event({"type": "error", **failure}, "error")
    return Reply(events=_numbered(response, starting_after), stream_error=stream_error)


def _numbered(response: Json, starting_after: int) -> Iterator[bytes]:
    for number, data in enumerate(_events(response)):
        if number > starting_after:
            yield _wire.event({**data, "sequence_number": number}, data["type"])


def _events(response: Json) -> Iterator[Json]:
    started: Json = {**queued(response), "status": "in_progress"}
    yield {"type": "response.created", "response": queued(response) if response["background"] else started}
    if response["background"]:
        yield {"type": "response.queued", "response": queued(response)}
    yield {"type": "response.in_progress", "response": started}
    for index, item in enumerate(cast("list[Json]", response["output"] or [])):
        empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        open_item = {**item, "status": "in_progress", **(empty if item["type"] != "reasoning" else {})}
        yield {"type": "response.output_item.added", "output_index": index, "item": open_item}
        place: Json = {"item_id": item["id"], "output_index": index}
        yield from _message_events(item, place) if item["type"] == "message" else _tool_events(item, place)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _message_events(item: Json, place: Json) -> Iterator[Json]:
    part = cast("Json", item["content"][0])
    key = "refusal" if part["type"] == "refusal" else "text"
    name = "refusal" if key == "refusal" else "output_text"
    place = {**place, "content_index": 0}
    more: Json = {} if key == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": {**part, key: ""}}
    for piece in pieces(part[key]):
        yield {"type": f"response.{name}.delta", **place, "delta": piece, **more}
    yield {"type": f"response.{name}.done", **place, key: part[key], **more}
    yield {"type": "response.content_part.done", **place, "part": part}


def _tool_events(item: Json, place: Json) -> Iterator[Json]:
    if item["type"] != "function_call":
        return
    arguments = str(item["arguments"])
    for start in range(0, len(arguments), 8):
        delta = arguments[start : start + 8]
        yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
    yield {"type": "response.function_call_arguments.done", **place, "name": item["name"], "arguments": arguments}


def _output(call: Call) -> list[Json]:
    """What the model gives: its thoughts if it thinks, then the tools it asks for, or a message."""
    thoughts: list[Json] = []
    if call.reasoning_tokens:
        thoughts = [{"id": f"rs_{call.number:06d}", "type": "reasoning", "summary": [], "status": "completed"}]
    tools = _wire.asked_tools(call, [tool for tool in call.body.get("tools") or [] if tool.get("type") == "function"])
    if tools:
        calls: list[Json] = [
            {
                "id": f"fc_{call.number:06d}_{index}",
                "type": "function_call",
                "status": "completed",
                "call_id": tool.id,
                "name": tool.name,
                "arguments": tool.arguments,
            }
            for index, tool in enumerate(tools)
        ]
        return thoughts + calls
    if call.is_forced("content-null"):
        return thoughts
    message = {"id": f"msg_{call.number:06d}", "type": "message", "status": "completed", "role": "assistant"}
    return [*thoughts, {**message, "content": [_part(call)]}]


def _part(call: Call) -> Json:
    if call.is_forced("refusal"):
        return {"type": "refusal", "refusal": REFUSAL}
    answer_format = cast("Json", (call.body.get("text") or {}).get("format") or {})
    if call.is_forced("many-chunks"):
        text = "word " * (call.behaviour.number or 0)
    elif answer_format.get("type") == "json_schema":
        text = _wire.to_json(example_of(answer_format["schema"]))
    else:
        text = "".join(pieces(call.text)[: call.body.get("max_output_tokens")])
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(call: Call, output: list[Json]) -> Json:
    texts = [text_of(item.get("content") or item.get("output")) for item in messages_of(call.body)]
    given = count_tokens([str(call.body.get("instructions") or ""), *texts])
    written = sum(
        len(pieces(text_of(item.get("content")))) + len(str(item.get("arguments", ""))) // 4 for item in output
    )
    made = written + call.reasoning_tokens
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": given // 2},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": call.reasoning_tokens},
        "total_tokens": given + made,
    }
