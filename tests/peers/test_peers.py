"""One model call is one span, whoever else traces it, in whatever order they came, and feedback finds that span."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

SCOPES = {
    "openllmetry": ("opentelemetry.instrumentation.openai", "opentelemetry.instrumentation.openai.v1"),
    "openinference": ("openinference.instrumentation.openai", "openinference.instrumentation.openai"),
    "genai": ("opentelemetry.instrumentation.genai.openai", "opentelemetry.instrumentation.genai.openai"),
    "openlit": ("openlit", "openlit.instrumentation.openai"),
    "logfire": ("logfire", "logfire.openai"),
    "langfuse": ("langfuse", "langfuse-sdk"),
}
"""The module of each peer, and the name of the scope of its spans."""

STAYS = {"langfuse", "openlit", "openllmetry"}
"""Peers that cannot be taken away again, or that forget to take their wrappers with them."""

WITHOUT_IDS = {"langfuse": {"chat", "stream", "responses"}, "openinference": {"stream"}, "logfire": {"stream"}}
"""Calls on whose spans a peer notes no response id: without our wrappers their spans cannot be found by it."""


SAID = {
    "gen_ai.prompt.name": "greeting",
    "gen_ai.prompt.version": "7",
    "gen_ai.conversation.id": "conv-1",
    "spanback.tags": ["beta", "é"],
    "feature_flag.key": "tone",
    "feature_flag.result.variant": "warm",
}
"""What the app says about each call. Its span also says whose it is; feedback may be somebody else's."""


def is_installed(peer: str) -> bool:
    """Whether a peer is there."""
    try:
        return find_spec(SCOPES[peer][0]) is not None
    except ModuleNotFoundError:
        return False


installed = pytest.mark.parametrize(
    "peer",
    [
        pytest.param(peer, marks=pytest.mark.skipif(not is_installed(peer), reason=f"{peer} is not installed here"))
        for peer in SCOPES
    ],
)


def run(*arguments: str) -> list[dict[str, Any]]:
    """What the app told."""
    command = [sys.executable, "-m", "tests.peers.app", *arguments]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    return [json.loads(line) for line in made.stdout.splitlines()]


@installed
@pytest.mark.parametrize("order", ["ours first", "peer first"])
def test_a_call_is_counted_once(peer: str, order: str) -> None:
    """The peer's span is kept, ours is not made, feedback binds to it; after the peer has gone, ours is made again."""
    told = run(peer, order)
    scope = SCOPES[peer][1]
    both = [one for one in told if one.get("call", "").startswith("both")]
    assert len(both) == 5
    for one in both:
        assert set(one["scopes"]) == {scope}, one
        assert len(one["scopes"]) == (2 if peer == "logfire" and "stream" in one["call"] else 1)
        assert (one["reference"], one["by id"]) == (0, True)
    (status,) = [one["status"] for one in told if "status" in one]
    assert [state for state, _ in status] == ["adopted"]
    assert scope.partition(".")[0].partition("-")[0] in status[0][1]
    after = [one for one in told if one.get("call", "").startswith("ours")]
    assert len(after) == 5
    for one in after:
        assert one["scopes"] == [scope if peer in STAYS else "spanback"], one
        assert (one["reference"], one["by id"]) == (0, True)


@installed
def test_feedback_without_wrappers_of_ours(peer: str) -> None:
    """With no client instrumented, a response is found by the id that the peer notes on its span."""
    told = run(peer, "only")
    assert len([one for one in told if "call" in one]) == 5
    for one in told:
        if "call" in one:
            assert "spanback" not in one["scopes"]
            kind = one["call"].split()[-1]
            has_id = kind not in WITHOUT_IDS.get(peer, set())
            assert (one["reference"] is not None, one["by id"]) == (has_id, has_id), one


@installed
@pytest.mark.parametrize("order", ["ours first", "peer first", "only"])
def test_what_an_app_says_of_a_call_is_on_the_peers_span(peer: str, order: str) -> None:
    """`spanback.context()` is on the span that the peer made, on no other one, and on feedback that finds it."""
    both = [one for one in run(peer, order) if one.get("call", "").startswith("both")]
    assert len(both) == 5
    for one in both:
        first, *others = one["said"]
        assert len(first.pop("user.hash")) == 64, one
        assert (first, others) == (SAID, [{}] * len(others)), one
        assert one["copied"] == (SAID if one["by id"] else {}), one


@installed
@pytest.mark.parametrize("order", ["ours first", "peer first"])
def test_ours_in_any_case(peer: str, order: str) -> None:
    """`instrument(adopt=False)` makes a span of ours for each call, and feedback binds to it.

    So it does where Logfire is around the call, whose provider makes no other span than its own there by itself.
    """
    told = run(peer, order, "own")
    both = [one for one in told if one.get("call", "").startswith("both")]
    assert len(both) == 5
    for one in both:
        assert one["scopes"].count("spanback") == 1, one
        assert one["scopes"][one["reference"]] == "spanback"
