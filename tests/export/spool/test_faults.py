"""The fault test in short; `python -m tests.export.faults` is the long one."""

from __future__ import annotations

import os

import pytest

from tests.backends import builds
from tests.export import faults


def test_every_acknowledged_signal_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    """Processes, the real collector, the way to it and the disk fail, and no signal is missing."""
    try:
        builds.build("collector")
    except builds.BackendUnavailableError as error:
        if os.environ.get("SPANBACK_REQUIRE_BACKENDS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    assert faults.main(["--signals", "2000", "--processes", "2", "--pace-s", "0.3", "--limit-s", "60"]) == 0
    assert '"missing spans": 0' in capsys.readouterr().out
