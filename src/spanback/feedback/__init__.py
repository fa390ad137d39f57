"""Feedback on responses, weeks later if need be, as OpenTelemetry."""

from spanback.feedback._abandoned import record_abandoned
from spanback.feedback._declared import DECLARED, Declaration, declare
from spanback.feedback._distance import normalised_distance
from spanback.feedback._presets import PRESETS
from spanback.feedback._receipt import Receipt
from spanback.feedback._record import record_feedback
from spanback.feedback._retract import retract_feedback
from spanback.feedback._signal import Signal
from spanback.feedback._target import reference

__all__ = [
    "DECLARED",
    "PRESETS",
    "Declaration",
    "Receipt",
    "Signal",
    "declare",
    "normalised_distance",
    "record_abandoned",
    "record_feedback",
    "reference",
    "retract_feedback",
]
