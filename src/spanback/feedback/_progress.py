"""How far a long batch has come, for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from spanback._never_raise import never_raise

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BAR_DELAY_S: Final = 1.0

Tell = Callable[[int], object]


@contextmanager
def progress_for(progress: bool | Callable[[int, int], object] | None, total: int) -> Generator[Tell]:
    """What is to be told how many items are done.

    Args:
        progress: A function that gets `done` and `total`; True for a bar; else nothing is told.
        total: How many items there are.

    Yields:
        The function to be told. It never raises.
    """
    if progress is True and never_raise(_can_draw):
        bar = _Bar(total)
        try:
            yield lambda done: never_raise(bar.update, done)
        finally:
            never_raise(bar.stop)
    elif callable(progress):
        yield lambda done: never_raise(progress, done, total)
    else:
        yield lambda _: None


def _can_draw() -> bool:
    """Whether there is a terminal, and what draws on it. A process without a console has no standard error."""
    return sys.stderr.isatty() and find_spec("rich") is not None


class _Bar:
    """A bar on standard error that shows itself only when a batch takes long."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._since_s = time.monotonic()
        self._bar: tuple[Progress, TaskID] | None = None

    def update(self, done: int) -> None:
        """Moves the bar."""
        if self._bar is None:
            if time.monotonic() - self._since_s < BAR_DELAY_S:
                return
            from rich.console import Console  # noqa: PLC0415 - most batches are done before it is needed
            from rich.progress import Progress  # noqa: PLC0415 - as above

            progress = Progress(console=Console(stderr=True), transient=True)
            self._bar = progress, progress.add_task("Recording feedback", total=self._total)
            progress.start()
        progress, task = self._bar
        progress.update(task, completed=done)

    def stop(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar[0].stop()
