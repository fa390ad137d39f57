"""Feedback over HTTP: tokens for responses, an endpoint that takes feedback, and a middleware that hands tokens out."""

from spanback.web._uses import MemoryUses, RedisUses, UseCounter
from spanback.web.tokens import handle, issue_token

__all__ = ["MemoryUses", "RedisUses", "UseCounter", "handle", "issue_token"]
