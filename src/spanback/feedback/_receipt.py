"""What became of a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spanback._spanref import SpanRef

Status = Literal["recorded", "spooled", "unresolved", "disabled", "refused"]
Placed = Literal["child", "linked"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What really happened to one signal.

    Attributes:
        feedback_id: The signal's id; the same id given again replaces it.
        status: `recorded`: handed to the OpenTelemetry SDK, on the rated span. `unresolved`: handed to the SDK, but
            which span the target came from is not known. `spooled`: on disk, and sent from there until it has arrived;
            `target` says whether the rated span is known. `disabled`: not emitted; `reason` says why. `refused`: not
            emitted, since the app's `consent` did not allow it.
        placement: Whether the carrier span is a child of the rated span or is only linked to it, in a trace of its
            own; None when there is no carrier span.
        target: The rated span, or None when it is not known.
        trace_id: The carrier span's trace id, 32 hex digits as backends show it; None when there is no carrier span.
        span_id: The carrier span's id, 16 hex digits; None when there is no carrier span.
        omitted: Names of arguments that were given and not kept, such as `comment` while content capture is off.
        reason: Why status and placement are what they are, for people.
    """

    feedback_id: str
    status: Status
    placement: Placed | None
    target: SpanRef | None
    trace_id: str | None
    span_id: str | None
    omitted: tuple[str, ...]
    reason: str
