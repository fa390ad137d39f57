"""`spanback demo --web` as a user starts it, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

START_TIMEOUT_S = 60
END_TIMEOUT_S = 20
_URL = re.compile(r"http://127\.0\.0\.1:\d+/")


@dataclass
class Chat:
    """The demo, running from `__enter__` to `__exit__`.

    Attributes:
        folder: Where its telemetry goes.
        env: More variables.
        is_opened: Whether the page is opened in the browser that BROWSER names.
        url: Where its page is.
        output: What it has printed.
        error: What it has printed on standard error.
        code: What it ended with.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    is_opened: bool = False
    url: str = ""
    output: str = ""
    error: str = ""
    code: int | None = None

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
        options = () if self.is_opened else ("--no-open",)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spanback", "demo", "--web", *options, "--port", "0", "--out", str(self.folder)],
            env={**kept, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ready = threading.Event()
        self._readers = [
            threading.Thread(target=self._read, args=("output", self._process.stdout)),
            threading.Thread(target=self._read, args=("error", self._process.stderr)),
        ]
        for reader in self._readers:
            reader.start()
        assert self._ready.wait(START_TIMEOUT_S), f"the demo has not started: {self.output}\n{self.error}"
        self.url = _URL.findall(self.output)[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self.code = self._process.wait(END_TIMEOUT_S)
        for reader in self._readers:
            reader.join()

    def _read(self, name: str, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                setattr(self, name, getattr(self, name) + line)
                if _URL.search(self.output):
                    self._ready.set()


def main() -> None:
    """Starts the demo of the installed package, asks for each of its files, and ends it: what `.ci/run` does."""
    with tempfile.TemporaryDirectory() as folder, Chat(Path(folder) / "out") as chat:
        for path in ("", "static/chat.js", "static/chat.css", "static/icon.svg", "feedback/feedback.js"):
            with urllib.request.urlopen(chat.url + path, timeout=20) as response:
                sys.stdout.write(f"{response.status} /{path} {len(response.read()):,} bytes\n")
    assert (chat.code, chat.error) == (0, ""), chat.error


if __name__ == "__main__":
    main()
