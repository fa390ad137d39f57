"""What the package itself gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spanback

_PROGRAM = """
import sys
before = set(sys.modules)  # what measures coverage has loaded some of it
import spanback
later = {"spanback._reduce", "spanback._tokens", "spanback._index", "sqlite3", "hashlib", "hmac"}
later |= {"spanback.feedback", "spanback.signals"}
assert not later & (set(sys.modules) - before), later & set(sys.modules)
from spanback import record_feedback, record_many, record_preference, reduce
assert (spanback.record_feedback, spanback.reduce) == (record_feedback, reduce)
rare = {"spanback.feedback._declared", "spanback.feedback._retract"}
assert not rare & set(sys.modules), rare & set(sys.modules)
assert spanback.signals.THUMBS_UP.name == "user_thumbs"
"""


def test_all_names_are_there() -> None:
    """Every name in __all__ is there, and in what dir() shows."""
    assert all(hasattr(spanback, name) for name in spanback.__all__)
    assert set(spanback.__all__) <= set(dir(spanback))


def test_a_name_that_is_not_there() -> None:
    """It is told as Python tells it."""
    with pytest.raises(AttributeError, match="module 'spanback' has no attribute 'nothing'"):
        _ = spanback.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_loaded_later() -> None:
    """Feedback, cryptography, databases and what few apps call are not loaded with the package, and are there when asked for."""
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)
