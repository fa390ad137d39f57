"""Feedback on responses, weeks later if need be, as OpenTelemetry. What few apps call is in modules of its own."""

from spanback.feedback._abandoned import record_abandoned
from spanback.feedback._presets import PRESETS
from spanback.feedback._receipt import Receipt
from spanback.feedback._record import record_feedback
from spanback.feedback._signal import Signal
from spanback.feedback._target import reference

__all__ = ["PRESETS", "Receipt", "Signal", "record_abandoned", "record_feedback", "reference"]
