"""What `status()` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["patched", "adopted", "not imported", "not instrumented", "not installed", "missing attribute"]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What became of one function that spanback wraps.

    Attributes:
        client: The client's name, as in `instrument(clients=[...])`.
        target: Module and path of the function; the package's name where it is not installed.
        state: `patched`; `not imported` while the app has not imported the client, which is then patched as soon as
            it does; `not instrumented` where `instrument()` was not called for the client; `not installed`; `missing
            attribute` where this version of the client lacks the function; `adopted` where another instrumentation
            makes the spans, and feedback binds to those.
        version: The client's installed version, or None.
        detail: A sentence on the state, or None.
    """

    client: str
    target: str
    state: State
    version: str | None
    detail: str | None = None
