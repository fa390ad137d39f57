"""Ids of signals, and what is kept of user ids."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

from spanback.feedback._target import Target

_VARIANT: Final = "89ab"  # of RFC 9562, by the two lowest bits


def random_id() -> str:
    """A UUID of version 4. From the system's source: apps that seed `random` would repeat ids, and ids replace."""
    return _uuid(os.urandom(16), "4")


def vote_id(target: Target, name: str, user_id: str, key: bytes | None) -> str | None:
    """The id that one user's signal of one name on one target always has: a UUID of version 8 (RFC 9562).

    Args:
        target: What is rated; known by its response id, so that processes with and without the span agree, else by
            its span.
        name: The signal's name.
        user_id: Who rates, printable.
        key: With a key, nobody without it can try out user ids; None gives a plain SHA-256.

    Returns:
        The id, or None when nothing identifies the target.
    """
    if target.response_id is not None:
        rated = target.response_id
    elif target.ref is not None:
        rated = target.ref.traceparent[:-3]  # sampled or not, it is the same span
    else:
        return None
    # Neither names nor user ids have a NUL, so no two triples give the same bytes.
    message = f"{name}\0{user_id}\0{rated}".encode("utf-8", "backslashreplace")
    digest = hashlib.sha256(message).digest() if key is None else hmac.digest(key, message, "sha256")
    return _uuid(digest[:16], "8")


def user_hash(user_id: str, key: bytes) -> str:
    """HMAC-SHA256 of a user id, 64 hex digits."""
    return hmac.digest(key, user_id.encode(), "sha256").hex()


def _uuid(octets: bytes, version: str) -> str:
    digits = octets.hex()
    variant = _VARIANT[octets[8] & 3]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
