"""A short form of the fuzz script: any input is refused, or a well-formed record comes of it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feedback import fuzz

# References of an app's own making may lack what those of calls have.
pytestmark = pytest.mark.odd_telemetry(
    "without gen_ai.prompt.name", "without feature_flag.key", "without the required", "has no place here"
)


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_any_input_is_refused_or_recorded(seed: int) -> None:
    """Nothing but InvalidFeedback and InvalidBatch is raised; no raw id and no key is in what is recorded."""
    outcomes = fuzz.run(seed, range(40))
    assert sum(outcomes.values()) == 40


def test_the_script_says_what_came_of_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both outcomes occur for each function that records."""
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count", "3000", "--seed", "7"])
    fuzz.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("3,000 inputs: ")
    for function in ("record_feedback", "record_preference", "record_many", "retract_feedback", "regenerated"):
        assert {line.split()[1] for line in lines if line.startswith(f"{function} ")} >= {"recorded", "refused"}
