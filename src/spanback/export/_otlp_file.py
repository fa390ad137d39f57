"""Exporters that append OTLP-JSON lines to files, one line a batch, and the file they write with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk._logs import export as sdk_logs
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export import SpanExportResult

from spanback.export._otlp_json import logs_line, metrics_line, spans_line

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_MODE: Final = 0o666  # less the process's umask, as any file
_SINGLE_FILE: Final = (".jsonl", ".json")
# The SDK renamed it with 1.39.
_LogExportResult: Final[Any] = vars(sdk_logs).get("LogRecordExportResult") or vars(sdk_logs)["LogExportResult"]
_logger: Final = logging.getLogger("spanback.export")


class LineFile:
    """Appends lines, each by one write to a file opened for appending, so that processes may share it.

    The file is opened for each line: a rotated or deleted file, a deleted folder and a fork need no further thought,
    and a batch costs some 10 us for it. A failure is said once, until a line is written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False
        self._failing = False

    def append(self, line: bytes) -> bool:
        """Writes one line, its newline included, and says whether it is in the file. Never raises."""
        try:
            self._write(line)
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            if not self._failing:
                self._failing = True
                _logger.warning("Telemetry is not written to %s (said once): %s", self.path, error)
            return False
        self._failing = False
        return True

    def _write(self, line: bytes) -> None:
        try:
            handle = os.open(self.path, _FLAGS, _MODE)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, _FLAGS, _MODE)
        try:
            # A full disk may have cut a line short; the next one must not be glued to that half.
            whole = b"\n" + line if self._torn else line
            written = os.write(handle, whole)
        finally:
            os.close(handle)
        if written < len(whole):
            self._torn = True
            raise OSError(f"only {written} of {len(whole)} bytes found room")
        self._torn = False


class Files:
    """The file of each signal's lines.

    Args:
        path: A folder, made when the first line is written, that holds `traces.jsonl`, `logs.jsonl` and
            `metrics.jsonl`; or one file for all signals, when the name ends in `.jsonl` or `.json`.
    """

    def __init__(self, path: str) -> None:
        # Absolute, since an app may change its working directory. pathlib's own expanduser raises on an unknown user.
        whole = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111
        if whole.suffix in _SINGLE_FILE and not whole.is_dir():
            self.traces = self.logs = self.metrics = LineFile(whole)
        else:
            self.traces = LineFile(whole / "traces.jsonl")
            self.logs = LineFile(whole / "logs.jsonl")
            self.metrics = LineFile(whole / "metrics.jsonl")


class FileExporter:
    """Appends each batch of spans or log records as one line: all that a batch processor asks of an exporter."""

    def __init__(self, file: LineFile, encode: Callable[[Sequence[Any]], bytes], result: Any) -> None:
        self._file = file
        self._encode = encode
        self._result = result
        self._is_shut = False

    def is_shut(self) -> bool:
        """Whether the processor that fills it has been shut down, which has written all that it held."""
        return self._is_shut

    def export(self, batch: Sequence[Any]) -> Any:
        """Writes one batch. An error of the file never raises."""
        return self._result.SUCCESS if self._file.append(self._encode(batch)) else self._result.FAILURE

    def shutdown(self) -> None:
        """Notes it; no file stays open."""
        self._is_shut = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing to do: each batch is written as it comes."""
        return True


class FileMetricExporter(MetricExporter):
    """Appends each collection of metrics as one line."""

    def __init__(self, file: LineFile) -> None:
        super().__init__()
        self._file = file

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the SDK's signature
        **_kwargs: Any,
    ) -> MetricExportResult:
        """Writes one collection. An error of the file never raises."""
        written = self._file.append(metrics_line(metrics_data))
        return MetricExportResult.SUCCESS if written else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: Any) -> None:
        """Nothing to do: no file stays open."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing to do: each collection is written as it comes."""
        return True


def span_exporter(file: LineFile) -> FileExporter:
    """An exporter of spans to a file."""
    return FileExporter(file, spans_line, SpanExportResult)


def log_exporter(file: LineFile) -> FileExporter:
    """An exporter of log records to a file."""
    return FileExporter(file, logs_line, _LogExportResult)
