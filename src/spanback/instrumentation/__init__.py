"""Spans around the calls of LLM clients."""

from spanback.instrumentation._annotate import annotate_context
from spanback.instrumentation._noticing import NOTICING
from spanback.instrumentation._wrap import WRAPPING, State, TargetStatus
from spanback.instrumentation.providers import CLIENTS

__all__ = ["CLIENTS", "NOTICING", "WRAPPING", "State", "TargetStatus", "annotate_context"]
