"""The index that processes share: a response id to the span of the response, for a while."""

from spanback._index._opening import opened
from spanback._index._shared import Index, SharedIndex

__all__ = ["Index", "SharedIndex", "opened"]
