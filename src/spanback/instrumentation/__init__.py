"""Spans around the calls of LLM clients."""

from spanback.instrumentation._wrap import WRAPPING, State, TargetStatus
from spanback.instrumentation.providers import ADAPTERS

__all__ = ["ADAPTERS", "WRAPPING", "State", "TargetStatus"]
