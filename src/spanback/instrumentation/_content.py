"""How much is kept of prompts and answers, and how it is written."""

from __future__ import annotations

import json
import sys
from typing import Any


class Clipper:
    """Shortens the texts of one call, so that together they stay within a limit.

    Args:
        limit_bytes: The most that is kept of all texts, in bytes of UTF-8.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes

    def __call__(self, value: Any) -> str:
        """The text, or its beginning and a note of how long it was. Anything but a text is written as JSON first.

        Half of a surrogate pair becomes a question mark: it would make the exporter drop its whole batch.
        """
        text = value if isinstance(value, str) else to_json(value)
        encoded = None if text.isascii() else text.encode("utf-8", "replace")
        size_bytes = len(text) if encoded is None else len(encoded)
        if size_bytes <= self._left_bytes:
            self._left_bytes -= size_bytes
            return text if encoded is None else encoded.decode()
        kept = text[: self._left_bytes].encode("utf-8", "replace")[: self._left_bytes].decode("utf-8", "ignore")
        self._left_bytes = 0
        return f"{kept}[cut: {size_bytes} bytes]"


def to_json(value: Any) -> str:
    """JSON text of what a client sent or got. Objects that JSON does not know are named by their type.

    The clients bring pydantic's encoder, the fastest there is; without it, or where a text holds half of a surrogate
    pair, the standard library's serves.
    """
    pydantic_core = sys.modules.get("pydantic_core")
    if pydantic_core is not None:
        try:
            return pydantic_core.to_json(value, fallback=_type_name).decode()
        except ValueError:
            pass
    return json.dumps(value, default=_type_name, separators=(",", ":"))


def _type_name(value: Any) -> str:
    return f"<{type(value).__qualname__}>"
