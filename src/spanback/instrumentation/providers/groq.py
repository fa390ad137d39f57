"""Groq's client. It speaks the chat completions format, and tells the usage of a stream in a field of its own."""

from __future__ import annotations

from typing import Any, Final

from spanback.instrumentation._adapter import Endpoint, member
from spanback.instrumentation.providers import _chat
from spanback.instrumentation.providers._embeddings import EMBEDDINGS
from spanback.instrumentation.providers._stainless import StainlessAdapter


class GroqChunks(_chat.ChatChunks):
    """Folds chunks of which the last has its usage in `x_groq`."""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks."""
        super().add(chunks)
        usage = member(getattr(chunks[-1], "x_groq", None), "usage")
        if usage is not None:
            self.usage(usage)


def provider_of(_host: str) -> str:
    """Groq, whatever the host: the client speaks to nobody else."""
    return "groq"


ADAPTER: Final = StainlessAdapter(
    client="groq",
    provider_of=provider_of,
    endpoints={
        "post /openai/v1/chat/completions": Endpoint(
            "chat",
            _chat.read_request,
            _chat.read_response,
            GroqChunks,
            _chat.read_input,
            _chat.read_output,
        ),
        "post /openai/v1/embeddings": EMBEDDINGS,
    },
)
