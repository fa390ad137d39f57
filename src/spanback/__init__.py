"""Feedback for LLM apps, as OpenTelemetry.

```python
import spanback

spanback.instrument()                                  # one line; where it goes is said by the OTEL_* variables

response = client.chat.completions.create(...)         # a span
spanback.record_feedback(response, score=1.0)          # a linked event
```
"""

from spanback import signals
from spanback._context import context
from spanback._instrument import instrument, status, uninstrument
from spanback._reduce import reduce
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
from spanback.feedback import (
    Declaration,
    Receipt,
    declare,
    record_feedback,
    record_many,
    record_preference,
    reference,
    retract_feedback,
)
from spanback.instrumentation import TargetStatus, annotate_context

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
