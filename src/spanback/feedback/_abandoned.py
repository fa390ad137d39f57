"""The signal that a stream was left before its end, which no app has to record itself."""

from __future__ import annotations

from spanback import _settings
from spanback._spanref import Handle, SpanRef
from spanback.feedback._model import checked
from spanback.feedback._presets import PRESETS
from spanback.feedback._record import record
from spanback.feedback._target import Target


def record_abandoned(handle: Handle, response_id: str | None, response_model: str | None) -> None:
    """Records that an app has left a stream. It is one signal on its response, however often it is told.

    Args:
        handle: Of the call.
        response_id: Of the response, where a chunk bore it.
        response_model: Likewise.
    """
    ref = SpanRef.from_handle(handle, response_id, response_model)
    target = Target(ref, response_id, "response")
    record(checked(PRESETS["ABANDONED"]), ((target, "rates"),), "auto", _settings.current())
