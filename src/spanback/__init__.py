"""Feedback for LLM apps, as OpenTelemetry.

```python
import spanback

spanback.instrument()                                  # one line; where it goes is said by the OTEL_* variables

response = client.chat.completions.create(...)         # a span
spanback.record_feedback(response, score=1.0)          # a linked event
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from spanback._instrument import instrument, status, uninstrument
from spanback._spanref import SpanRef
from spanback._version import __version__
from spanback.errors import (
    InvalidBatch,
    InvalidContext,
    InvalidFeedback,
    InvalidSetting,
    MissingTokenKey,
    SpanbackError,
    SpoolFull,
    SpoolUnavailable,
    TokenError,
)
from spanback.export import flush

if TYPE_CHECKING:
    from spanback import signals
    from spanback._context import context
    from spanback._reduce import reduce
    from spanback.feedback import Receipt, record_feedback, reference
    from spanback.feedback._declared import Declaration, declare
    from spanback.feedback._many import record_many
    from spanback.feedback._preference import record_preference
    from spanback.feedback._retract import retract_feedback
    from spanback.instrumentation._annotate import annotate_context
    from spanback.instrumentation._status import TargetStatus

__all__ = [
    "Declaration",
    "InvalidBatch",
    "InvalidContext",
    "InvalidFeedback",
    "InvalidSetting",
    "MissingTokenKey",
    "Receipt",
    "SpanRef",
    "SpanbackError",
    "SpoolFull",
    "SpoolUnavailable",
    "TargetStatus",
    "TokenError",
    "__version__",
    "annotate_context",
    "context",
    "declare",
    "flush",
    "instrument",
    "record_feedback",
    "record_many",
    "record_preference",
    "reduce",
    "reference",
    "retract_feedback",
    "signals",
    "status",
    "uninstrument",
]

_LATER: Final = {
    "Declaration": "spanback.feedback._declared",
    "Receipt": "spanback.feedback",
    "TargetStatus": "spanback.instrumentation._status",
    "annotate_context": "spanback.instrumentation._annotate",
    "context": "spanback._context",
    "declare": "spanback.feedback._declared",
    "record_feedback": "spanback.feedback",
    "record_many": "spanback.feedback._many",
    "record_preference": "spanback.feedback._preference",
    "reduce": "spanback._reduce",
    "reference": "spanback.feedback",
    "retract_feedback": "spanback.feedback._retract",
}
"""What an app need not wait for as it starts: feedback, which nobody gives before there is a response, and what few
apps call. As `signals`, it is loaded when it is first asked for, which takes some milliseconds once."""


def __getattr__(name: str) -> Any:
    if name == "signals":
        return import_module("spanback.signals")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
