"""Ids of signals: one vote a user, and no two signals that share one by chance."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback import signals
from spanback.feedback import _ids, record_feedback
from spanback.feedback._model import checked
from spanback.feedback._target import Target, resolve
from spanback.testing import InMemoryTelemetry, fake_ref

FAKE = resolve(fake_ref())
assert FAKE is not None

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
TARGETS = TEXT.map(lambda text: Target(None, text, "response"))
GIVERS = st.none() | TEXT.filter(lambda text: text.isprintable() and bool(text.strip()))
VOTES = st.fixed_dictionaries(
    {
        "name": st.sampled_from("ab"),
        "criterion": st.none() | st.sampled_from("ab"),
        "user_id": GIVERS,
        "rater_id": GIVERS,
        "type": st.sampled_from(["explicit", "implicit"]),
    }
)
KEYS = st.none() | st.binary(min_size=1, max_size=4)


def vote_id(target: Target, key: bytes | None = None, **arguments: Any) -> str | None:
    """The id of a vote on one target."""
    return _ids.vote_id(((target, "rates"),), checked(score=1, **arguments), key)


@given(TARGETS, TARGETS, VOTES, VOTES, KEYS, KEYS)
def test_the_same_vote_has_the_same_id_and_no_other(
    target: Target, other_target: Target, vote: Any, other: Any, key: Any, other_key: Any
) -> None:
    """The id depends on target, name, criterion, type, user, rater and key alone, and on each of them."""
    made = vote_id(target, key, **vote)
    if vote["type"] == "explicit" and vote["user_id"] is None and vote["rater_id"] is None:
        assert made is None
        return
    assert made is not None
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant, str(parsed)) == (8, uuid.RFC_4122, made)
    assert made == vote_id(target, key, **vote)
    same = (target, vote, key) == (other_target, other, other_key)
    assert (vote_id(other_target, other_key, **other) == made) is same


def test_a_vote_is_known_by_the_response_else_by_the_span() -> None:
    """A process that knows only the response id makes the same id as one that has the span."""
    known = vote_id(FAKE, user_id="u")
    assert known == vote_id(Target(None, "chatcmpl-fake", "response"), user_id="u")
    sampled, unsampled = (Target(fake_ref(response_id=None, sampled=s), None, "span") for s in (True, False))
    by_span = vote_id(sampled, user_id="u")
    assert by_span == vote_id(unsampled, user_id="u")
    assert by_span != known
    assert vote_id(Target(None, None, "span"), user_id="u") is None


def test_a_response_id_that_utf8_cannot_carry_has_an_id_too() -> None:
    """The digest takes every string."""
    assert vote_id(Target(None, "\ud83d", "response"), user_id="u") is not None


def test_a_double_click_is_one_vote(telemetry: InMemoryTelemetry) -> None:
    """With a user the id is the same each time, whatever the score is, and differs by name and user."""

    def vote(**arguments: Any) -> str:
        return record_feedback(fake_ref(), **arguments).feedback_id

    first = vote(signal=signals.THUMBS_UP, user_id="anna")
    assert vote(signal=signals.THUMBS_DOWN, user_id="anna") == first
    others = [
        vote(score=1, user_id="anna"),
        vote(signal=signals.THUMBS_UP, user_id="bert"),
        vote(score=1),
        vote(score=1),
    ]
    assert len({first, *others}) == 5
    assert len(telemetry.spans) == 6


def test_the_id_that_the_app_gives_is_kept(telemetry: InMemoryTelemetry) -> None:
    """An app with ids of its own keeps them, also with a user."""
    assert record_feedback(fake_ref(), score=1, user_id="anna", feedback_id="mine").feedback_id == "mine"


def test_a_user_on_no_known_target_gets_a_new_id_each_time(telemetry: InMemoryTelemetry) -> None:
    """Signals on two unknown spans must not replace each other."""
    zeros = f"00-{0:032x}-{0:016x}-00"
    ids = {record_feedback(zeros, score=1, user_id="anna").feedback_id for _ in range(3)}
    assert len(ids) == 3


def test_the_key_changes_votes_and_hashes(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """Without the key nobody can try out user ids, neither by hash nor by id."""
    seen = set()
    for key in (b"one", b"two"):
        configure(user_hash_key=key)
        seen.add(record_feedback(fake_ref(), score=1, user_id="anna").feedback_id)
        seen.add(telemetry.feedback[-1].attributes["feedback.user.hash"])
    assert len(seen) == 4


def test_what_is_inferred_is_one_signal_of_its_name_on_its_target(telemetry: InMemoryTelemetry) -> None:
    """An implicit signal has the same id each time, by user where there is one, and never that of an explicit one."""

    def inferred(**arguments: Any) -> str:
        return record_feedback(fake_ref(), **arguments).feedback_id

    first = inferred(signal=signals.COPIED)
    assert inferred(signal=signals.COPIED) == first
    explicit = {"signal": signals.COPIED, "type": "explicit"}
    others = [
        inferred(signal=signals.READ),
        inferred(signal=signals.COPIED, user_id="anna"),
        inferred(**explicit, user_id="anna"),
        inferred(**explicit),
        inferred(**explicit),
    ]
    assert len({first, *others}) == 6


@given(st.integers(0, (1 << 48) * 1_000_000 - 1))
def test_a_new_id_is_a_uuid_that_tells_the_time(now_ns: int) -> None:
    """It sorts by time, and its form is that of RFC 9562."""
    made = _ids.new_id(now_ns)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, made)
    assert parsed.int >> 80 == now_ns // 1_000_000
    assert parsed.int >> 64 & 0xFFF == (now_ns % 1_000_000) * 4096 // 1_000_000
    assert _ids.new_id(now_ns) != made


@pytest.mark.filterwarnings("ignore:.*use of fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    """Workers that share their memory's past do not share their ids' future."""
    _ids.new_id(0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, _ids.new_id(0).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 64).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 36
    assert theirs != _ids.new_id(0)
