"""The clients that spanback knows, by name. A client's module is imported when the client is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ADAPTERS: Final[Mapping[str, str]] = {
    "openai": "spanback.instrumentation.providers.openai",
}
"""Client name, which is also its package's name, to the module that holds its `ADAPTER`."""
