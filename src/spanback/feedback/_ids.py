"""Ids of signals, and what is kept of user ids."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
from typing import Final

from spanback.feedback._target import Target

_RANDOM: Final = random.Random()  # noqa: S311 - ids are no secrets; its own, since apps that seed `random` would repeat
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_RANDOM.seed)


def new_id(now_ns: int) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds, the fraction of the millisecond, 62 random bits.

    A system call for random bytes costs several times what the rest does. The time keeps ids apart also in processes
    that were forked behind Python's back, with the same random state.

    Args:
        now_ns: The time in ns since the epoch.
    """
    milliseconds, rest_ns = divmod(now_ns, 1_000_000)
    fraction = (rest_ns << 12) // 1_000_000
    number = milliseconds << 80 | fraction << 64 | _RANDOM.getrandbits(62)
    return _uuid(number.to_bytes(16, "big").hex(), "7")


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
    return _uuid(digest.hex(), "8")


def user_hash(user_id: str, key: bytes) -> str:
    """HMAC-SHA256 of a user id, 64 hex digits."""
    return hmac.digest(key, user_id.encode(), "sha256").hex()


def _uuid(digits: str, version: str) -> str:
    """A UUID with its version and variant put into 32 hex digits."""
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The two highest bits say which layout it is (RFC 9562, section 4.1); the two others stay."""
