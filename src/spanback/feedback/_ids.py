"""Ids of signals, and what is kept of user ids."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import Final

from spanback.feedback._model import Feedback
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


def vote_id(targets: Iterable[tuple[Target, object]], feedback: Feedback, key: bytes | None) -> str | None:
    """The id that a vote always has: a UUID of version 8 (RFC 9562).

    A vote is what one user, or rater, says of one name and criterion on one target; and what is inferred from behaviour
    is one signal of its name on its target, whoever showed it. A signal that is stated by nobody in particular is no
    vote.

    Args:
        targets: What is rated, and how; known by its response id, so that processes with and without the span agree,
            else by its span. Several are the sides of a preference, in any order.
        feedback: The signal: its name, criterion, type, user and rater count.
        key: With a key, nobody without it can try out user ids; None gives a plain SHA-256.

    Returns:
        The id, or None for what is no vote, and when nothing identifies a target.
    """
    if feedback.user_id is None and feedback.rater_id is None and feedback.type == "explicit":
        return None
    rated: list[str] = []
    for target, _ in targets:
        identity = identity_of(target)
        if identity is None:
            return None
        rated.append(identity)
    # Names have neither a slash nor a question mark, ids of users and raters neither a NUL nor an SOH. So no two votes
    # give the same bytes.
    name = feedback.name if feedback.criterion is None else f"{feedback.name}/{feedback.criterion}"
    name = name if feedback.type == "explicit" else f"{name}?"
    who = feedback.user_id or ""
    who = who if feedback.rater_id is None else f"{who}\1{feedback.rater_id}"
    message = "\0".join([name, who, *sorted(rated)]).encode("utf-8", "backslashreplace")
    return _uuid(_digest(message, key).hex(), "8")


def _digest(message: bytes, key: bytes | None) -> bytes:
    import hashlib  # noqa: PLC0415 - they load OpenSSL, for milliseconds that an app may do without
    import hmac  # noqa: PLC0415

    return hashlib.sha256(message).digest() if key is None else hmac.digest(key, message, "sha256")


def identity_of(target: Target) -> str | None:
    """What tells a target from others, alike in all processes; None where nothing does."""
    whole = target.response_id
    if whole is None and target.ref is not None:
        whole = target.ref.traceparent[:-3]  # sampled or not, it is the same span
    if target.detail is None and target.scope != "trace":
        return whole
    if target.scope == "conversation":
        whole = ""
    elif target.scope == "trace" and target.ref is not None:
        whole = f"{target.ref.trace_id:032x}"
    # No id of a part has an SOH.
    return None if whole is None else f"{whole}\1{target.scope}\1{'' if target.detail is None else target.detail}"


def _uuid(digits: str, version: str) -> str:
    """A UUID with its version and variant put into 32 hex digits."""
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The two highest bits say which layout it is (RFC 9562, section 4.1); the two others stay."""
