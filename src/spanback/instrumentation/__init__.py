"""Spans around the calls of LLM clients."""

from spanback.instrumentation._noticing import NOTICING
from spanback.instrumentation._wrap import WRAPPING
from spanback.instrumentation.providers import CLIENTS

__all__ = ["CLIENTS", "NOTICING", "WRAPPING"]
