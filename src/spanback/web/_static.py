"""The browser module, as it is served."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from spanback.web._http import Head, Problem, Response

SCRIPT: Final = Path(__file__).parent / "static" / "feedback.js"

_MAX_AGE_S: Final = 3_600


def script(head: Head) -> Response:
    """The response with the module, or without it where the browser has it already.

    Raises:
        Problem: This installation has none.
    """
    content, tag = _read()
    headers = (
        ("etag", tag),
        ("cache-control", f"public, max-age={_MAX_AGE_S}"),
        ("access-control-allow-origin", "*"),  # pages import it from wherever the endpoint is
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
    )
    if tag in head.headers.get("if-none-match", ""):
        return Response(304, headers)
    kind = (("content-type", "text/javascript; charset=utf-8"), ("content-length", str(len(content))))
    return Response(200, kind + headers, content)


@lru_cache(maxsize=1)
def _read() -> tuple[bytes, str]:
    try:
        content = SCRIPT.read_bytes()
    except FileNotFoundError:
        raise Problem(404, "not-found", "There is nothing here", "this installation has no browser module") from None
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
