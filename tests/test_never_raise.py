"""The one broad except."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from spanback._never_raise import never_raise


def test_the_result_passes_through() -> None:
    """Arguments go in and the result comes out."""
    assert never_raise(divmod, 7, 2) == (3, 1)
    assert never_raise(int, "ff", base=16) == 255


def test_an_exception_ends_here_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The app goes on with None; a developer who asks for DEBUG sees the traceback."""
    with caplog.at_level(logging.DEBUG, "spanback"):
        assert never_raise(int, "x") is None
    (record,) = caplog.records
    assert record.getMessage() == "int raised; the app goes on"
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


class _Nameless:
    def __call__(self) -> None:
        raise ValueError

    def __repr__(self) -> str:
        return "SECRET"


def test_a_callable_without_a_name_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The repr of a foreign object may show content."""
    with caplog.at_level(logging.DEBUG, "spanback"):
        never_raise(_Nameless())
    assert [record.getMessage() for record in caplog.records] == ["a callable raised; the app goes on"]


class _FailingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError


def test_a_failing_log_handler_is_passed_over() -> None:
    """An app's log handler that fails does not make the app fail by way of us."""
    logger, handler = logging.getLogger("spanback"), _FailingHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        assert never_raise(int, "x") is None
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_belongs_to_the_app_passes(error: type[BaseException]) -> None:
    """A request to stop is not ours to swallow."""

    def stop() -> None:
        raise error

    with pytest.raises(error):
        never_raise(stop)


def test_it_costs_one_python_call() -> None:
    """Nothing but its own frame is entered."""
    entered: list[str] = []

    def note(frame: Any, event: str, _argument: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    sys.setprofile(note)
    never_raise(int, "7")
    sys.setprofile(None)
    assert entered == ["never_raise"]
