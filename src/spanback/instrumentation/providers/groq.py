"""Groq's client. It speaks the chat completions format, and tells the usage of a stream in a field of its own."""

from __future__ import annotations

from typing import Any, Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import Attributes, Endpoint, member, text
from spanback.instrumentation.providers import _chat
from spanback.instrumentation.providers._embeddings import EMBEDDINGS
from spanback.instrumentation.providers._stainless import StainlessAdapter


class GroqChunks(_chat.ChatChunks):
    """Folds chunks of which the last has in `x_groq` its usage, or why the stream was broken off."""

    def __init__(self, with_content: bool) -> None:
        super().__init__(with_content)
        self._error: str | None = None

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks. One with nothing but the usage may follow the last."""
        super().add(chunks)
        for chunk in chunks[-2:]:
            own = getattr(chunk, "x_groq", None)
            if own is not None:
                usage = member(own, "usage")
                if usage is not None:
                    self.usage(usage)
                self._error = text(member(own, "error")) or self._error

    def response(self) -> Any:
        """The completion so far."""
        whole = super().response()
        whole.x_groq = {"error": self._error}
        return whole


def provider_of(_host: str) -> str:
    """Groq, whatever the host: the client speaks to nobody else."""
    return "groq"


def read_response(response: Any) -> Attributes:
    """Attributes of a chat completion. One that Groq has broken off is an error, which the client does not raise."""
    attributes = _chat.read_response(response)
    if text(member(member(response, "x_groq"), "error")):
        attributes[sc.ERROR_TYPE] = "_OTHER"
    return attributes


ADAPTER: Final = StainlessAdapter(
    client="groq",
    provider_of=provider_of,
    endpoints={
        "post /openai/v1/chat/completions": Endpoint(
            "chat",
            _chat.read_request,
            read_response,
            GroqChunks,
            _chat.read_input,
            _chat.read_output,
        ),
        "post /openai/v1/embeddings": EMBEDDINGS,
    },
)
