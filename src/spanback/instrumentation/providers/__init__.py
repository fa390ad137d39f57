"""The clients that spanback knows, by name. A client's adapter is imported when the client is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Client(NamedTuple):
    """Where a client is, and where its adapter.

    Attributes:
        adapter: The module that holds its `ADAPTER`.
        module: The client's module whose import says that the app uses it, or its names in different releases.
        distribution: The name it is installed by.
    """

    adapter: str
    module: str | tuple[str, ...]
    distribution: str


CLIENTS: Final[Mapping[str, Client]] = {
    "anthropic": Client("spanback.instrumentation.providers.anthropic", "anthropic._base_client", "anthropic"),
    "bedrock": Client("spanback.instrumentation.providers.bedrock", "botocore.client", "botocore"),
    "cohere": Client("spanback.instrumentation.providers.cohere", "cohere.client", "cohere"),
    "google-genai": Client("spanback.instrumentation.providers.google_genai", "google.genai.models", "google-genai"),
    "groq": Client("spanback.instrumentation.providers.groq", "groq._base_client", "groq"),
    "litellm": Client("spanback.instrumentation.providers.litellm", "litellm.main", "litellm"),
    "mistralai": Client(
        "spanback.instrumentation.providers.mistralai", ("mistralai.client.sdk", "mistralai.sdk"), "mistralai"
    ),
    "ollama": Client("spanback.instrumentation.providers.ollama", "ollama._client", "ollama"),
    "openai": Client("spanback.instrumentation.providers.openai", "openai._base_client", "openai"),
    "together": Client("spanback.instrumentation.providers.together", "together", "together"),
}
"""By the name that `instrument(clients=[...])` takes."""
