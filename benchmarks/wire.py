"""The real openai client over a transport inside the process, so that no network drowns what is measured."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final

import openai

MODEL: Final = "gpt-4o-mini"
MESSAGES: Final = (
    {"role": "system", "content": "You are a travel assistant. Answer in one short paragraph."},
    {"role": "user", "content": "What should I see in Lisbon if I have two days?"},
)
INSTRUCTIONS: Final = MESSAGES[0]["content"]
QUESTION: Final = MESSAGES[1]["content"]
ANSWER: Final = (
    "Two days in Lisbon: day one Alfama, the castle and a ride on tram 28; day two Belém, the monastery "
    "and a pastel de nata by the river."
)
_ID: Final = b"0123456789"
_CHAT_USAGE: Final = {
    "prompt_tokens": 31,
    "completion_tokens": 40,
    "total_tokens": 71,
    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_CHAT_HEAD: Final = {
    "id": f"chatcmpl-{_ID.decode()}",
    "created": 1_766_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}
_CHAT: Final = {
    **_CHAT_HEAD,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _CHAT_USAGE,
}
_RESPONSE: Final = {
    "id": f"resp_{_ID.decode()}",
    "object": "response",
    "created_at": 1_766_000_000.0,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": INSTRUCTIONS,
    "max_output_tokens": 200,
    "metadata": {},
    "model": "gpt-4o-mini-2024-07-18",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 0.5,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 31,
        "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
        "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 71,
    },
    "user": None,
}


def chat_events(chunks: int) -> list[bytes]:
    """The server-sent events of a streamed chat completion of so many chunks, the last one with the usage."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": "word "} for _ in range(chunks - 3)), {}]
    events = [
        {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    events.append({"choices": [], "usage": _CHAT_USAGE})
    head = {**_CHAT_HEAD, "object": "chat.completion.chunk"}
    return [*(b"data: " + _json({**head, **event}) + b"\n\n" for event in events), b"data: [DONE]\n\n"]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# openai 3 speaks through httpx2, older ones through httpx: the base class of its own client tells which.
httpx: Final[Any] = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
_numbers: Final = itertools.count(1_000_000_000)


class EventStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives event by event."""

    def __init__(self, events: list[bytes]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._events)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in self._events:
            yield event


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers every request with the same bytes; whole bodies get an id of their own each, as real ones have."""

    def __init__(self, body: bytes | list[bytes]) -> None:
        self._body = body
        kind = "application/json" if isinstance(body, bytes) else "text/event-stream"
        self._headers = httpx.Headers({"content-type": kind, "x-request-id": "req_1"})

    def handle_request(self, _request: object) -> Any:
        """Answers at once."""
        if isinstance(self._body, bytes):
            return httpx.Response(200, headers=self._headers, content=self._body.replace(_ID, b"%d" % next(_numbers)))
        return httpx.Response(200, headers=self._headers, stream=EventStream(self._body))

    async def handle_async_request(self, request: object) -> Any:
        """Answers at once."""
        return self.handle_request(request)


CHAT: Final = _json(_CHAT)
RESPONSE: Final = _json(_RESPONSE)


def client(body: bytes | list[bytes]) -> Any:
    """A client whose every call gets this body."""
    http_client = httpx.Client(transport=Transport(body))
    return openai.OpenAI(api_key="none", base_url="https://api.openai.com/v1", http_client=http_client)


def async_client(body: bytes | list[bytes]) -> Any:
    """As `client`, for async calls."""
    http_client = httpx.AsyncClient(transport=Transport(body))
    return openai.AsyncOpenAI(api_key="none", base_url="https://api.openai.com/v1", http_client=http_client)


def lighten(chunks: int) -> None:
    """From here on a streamed call sends no request and parses nothing, so that the cost of a chunk is not drowned.

    Its chunks are still objects of the client's own types, made anew for each call, and its stream is the client's.
    """
    first, *_, stop, usage = client(chat_events(4)).chat.completions.create(**stream_arguments())

    def iterate() -> Iterator[Any]:
        for one in (first, *itertools.repeat(first, chunks - 3), stop, usage):
            choices = [choice.model_copy(update={"delta": choice.delta.model_copy()}) for choice in one.choices]
            yield one.model_copy(update={"choices": choices})

    def request(_client: Any, *_args: Any, **_kwargs: Any) -> Any:
        stream = openai.Stream.__new__(openai.Stream)
        stream.response = SimpleNamespace(close=lambda: None)
        stream._iterator = iterate()
        return stream

    openai._base_client.SyncAPIClient.request = request


def alone() -> Callable[..., Any]:
    """A chat call that is nothing but the function which spanback wraps: from here on that function does nothing.

    So what a span costs is not drowned in what the client does, and finds its code and data where it has left them.
    """
    one, completion = client(CHAT), client(CHAT).chat.completions.create(**chat_arguments())
    options = openai._models.FinalRequestOptions.construct(
        method="post", url="/chat/completions", json_data=chat_arguments(), extra_json=None
    )

    def request(_client: Any, _cast_to: Any, _options: Any, **_kwargs: Any) -> Any:
        return completion

    openai._base_client.SyncAPIClient.request = request
    return lambda **_arguments: one.request(type(completion), options, stream=False, stream_cls=None)


def chat_arguments() -> dict[str, Any]:
    """The arguments of the chat calls that are measured."""
    return {"model": MODEL, "messages": list(MESSAGES), "temperature": 0.5, "max_tokens": 200}


def stream_arguments() -> dict[str, Any]:
    """The arguments of the streamed chat calls that are measured."""
    return {**chat_arguments(), "stream": True, "stream_options": {"include_usage": True}}


def response_arguments() -> dict[str, Any]:
    """The arguments of the calls of the Responses API that are measured."""
    return {
        "model": MODEL,
        "instructions": INSTRUCTIONS,
        "input": QUESTION,
        "temperature": 0.5,
        "max_output_tokens": 200,
    }
