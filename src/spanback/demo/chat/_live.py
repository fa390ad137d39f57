"""What the telemetry of the chat says now, read back from its files alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Final

import spanback
from spanback.demo._report import read_report

_CALLS_SHOWN: Final = 50
_FLUSH_TIMEOUT_S: Final = 1.0


class LiveTelemetry:
    """The telemetry of a folder, read anew where it has changed. Safe for threads.

    Args:
        folder: Where it is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._sizes: dict[str, int] = {}
        self._told = ""

    def told(self) -> str:
        """The calls with their signals, the latest last, as one line of JSON."""
        with self._lock:
            # Batches would wait for some seconds, and people look at the panel right after a click.
            spanback.flush(_FLUSH_TIMEOUT_S)
            sizes = {file.name: file.stat().st_size for file in self._folder.glob("*.jsonl")}
            if sizes != self._sizes or not self._told:
                self._told = self._read()
                self._sizes = sizes
            return self._told

    def _read(self) -> str:
        report = read_report(self._folder)
        return json.dumps(
            {
                "calls": [rated.to_json() for rated in report.calls[-_CALLS_SHOWN:]],
                "models": [asdict(row) for row in report.models],
                "call_count": len(report.calls),
                "signal_count": report.signals,
            }
        )
