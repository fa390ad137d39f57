"""Fixtures of the reader's and the reading commands' tests."""

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def run_without() -> Callable[..., str]:
    """Runs code in a new interpreter in which a package cannot be imported; gives what it prints."""

    def run(package: str, code: str, *arguments: str) -> str:
        hidden = f"import sys; sys.modules[{package!r}] = None\n{code}"
        done = subprocess.run([sys.executable, "-c", hidden, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    return run
