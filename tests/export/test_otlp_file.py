"""Lines in files: whole, shared, and never at the cost of the app."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.trace.export import SpanExportResult

from spanback.export._otlp_file import FileMetricExporter, Files, LineFile, log_exporter, span_exporter
from tests.export.telemetry import log, metrics, span

APPEND = """
import sys
from pathlib import Path
from spanback.export._otlp_file import LineFile
file = LineFile(Path(sys.argv[1]))
line = sys.argv[2].encode() * 200_000 + b"\\n"
for _ in range(20):
    assert file.append(line)
"""


def test_each_signal_has_its_own_file_in_a_folder(tmp_path: Path) -> None:
    """A folder is made with the first line, and holds one line a batch for each signal."""
    files = Files(str(tmp_path / "new" / "telemetry"))
    assert not (tmp_path / "new").exists()

    spans = span_exporter(files.traces)
    assert spans.export([span("a"), span("b")]) is SpanExportResult.SUCCESS
    assert spans.export([span("c")]) is SpanExportResult.SUCCESS
    assert log_exporter(files.logs).export([log()]).name == "SUCCESS"
    assert FileMetricExporter(files.metrics).export(metrics()) is MetricExportResult.SUCCESS

    folder = tmp_path / "new" / "telemetry"
    assert {path.name: len(path.read_bytes().splitlines()) for path in folder.iterdir()} == {
        "traces.jsonl": 2,
        "logs.jsonl": 1,
        "metrics.jsonl": 1,
    }


@pytest.mark.parametrize("name", ["all.jsonl", "all.json"])
def test_all_signals_share_a_file_that_is_named_as_one(tmp_path: Path, name: str) -> None:
    """A name that ends in .jsonl or .json is one file for all signals, one object a line."""
    files = Files(str(tmp_path / name))

    span_exporter(files.traces).export([span()])
    log_exporter(files.logs).export([log()])
    FileMetricExporter(files.metrics).export(metrics())

    lines = (tmp_path / name).read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [["resourceSpans"], ["resourceLogs"], ["resourceMetrics"]]


def test_a_folder_may_be_named_like_a_file(tmp_path: Path) -> None:
    """What is a folder already is used as one."""
    (tmp_path / "odd.json").mkdir()

    assert Files(str(tmp_path / "odd.json")).logs.path == tmp_path / "odd.json" / "logs.jsonl"


def test_the_place_stays_when_the_app_changes_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name is meant from where the app was at set-up, and ~ is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    files, at_home = Files("telemetry"), Files("~/telemetry")
    monkeypatch.chdir("/")

    assert files.traces.path == tmp_path / "telemetry" / "traces.jsonl"
    assert at_home.traces.path == tmp_path / "home" / "telemetry" / "traces.jsonl"


def test_two_processes_may_append_to_one_file(tmp_path: Path) -> None:
    """Lines of many processes never mix, however long they are."""
    path = tmp_path / "shared.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), letter]) for letter in "ab"]

    assert [writer.wait(30) for writer in writers] == [0, 0]
    lines = path.read_bytes().splitlines()
    assert sorted({bytes([line[0]]) * 200_000 == line for line in lines}) == [True]
    assert sorted(line[:1] for line in lines) == [b"a"] * 20 + [b"b"] * 20


@pytest.mark.parametrize("place", ["a file/telemetry.jsonl", "nul\0.jsonl"])
def test_a_place_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """No error reaches the app; one WARNING names the file; the exporter reports failure each time."""
    (tmp_path / "a file").write_text("")
    file = LineFile(tmp_path / place)

    results = [
        span_exporter(file).export([span()]).name,
        log_exporter(file).export([log()]).name,
        FileMetricExporter(file).export(metrics()).name,
    ]

    assert results == ["FAILURE", "FAILURE", "FAILURE"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path) in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the device that is always full")
def test_a_full_disk_is_said_once_and_again_after_it_had_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines are lost while the disk is full and written again when it is not."""
    file = LineFile(Path("/dev/full"))
    assert [file.append(b"{}\n"), file.append(b"{}\n")] == [False, False]

    file.path = tmp_path / "roomy.jsonl"
    assert file.append(b"{}\n") is True
    file.path = Path("/dev/full")
    assert file.append(b"{}\n") is False

    assert [record.getMessage() for record in caplog.records] == [
        "Telemetry is not written to /dev/full (said once): [Errno 28] No space left on device"
    ] * 2
    assert (tmp_path / "roomy.jsonl").read_bytes() == b"{}\n"


def test_a_line_cut_short_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the disk fills up in the middle of a line, the next line starts on a line of its own."""
    file = LineFile(tmp_path / "t.jsonl")
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, line: write(handle, line[:4]))
        assert file.append(b'{"a":1}\n') is False
    assert file.append(b'{"b":2}\n') is True
    assert file.append(b'{"c":3}\n') is True

    assert (tmp_path / "t.jsonl").read_bytes() == b'{"a"\n{"b":2}\n{"c":3}\n'
    assert caplog.record_tuples == [
        (
            "spanback.export",
            logging.WARNING,
            f"Telemetry is not written to {tmp_path}/t.jsonl (said once): only 4 of 8 bytes found room",
        )
    ]


def test_a_rotated_file_and_a_deleted_folder_are_made_anew(tmp_path: Path) -> None:
    """The file is looked up for each line, so log rotation needs no signal."""
    file = Files(str(tmp_path / "telemetry")).traces
    file.append(b"1\n")
    file.path.rename(tmp_path / "old.jsonl")
    file.append(b"2\n")
    assert file.path.read_bytes() == b"2\n"
    file.path.unlink()
    file.path.parent.rmdir()
    file.append(b"3\n")

    assert file.path.read_bytes() == b"3\n"


def test_file_exporters_have_nothing_to_flush_or_to_close(tmp_path: Path) -> None:
    """Whatever was exported is in the file already."""
    file = LineFile(tmp_path / "t.jsonl")

    for exporter in (span_exporter(file), log_exporter(file), FileMetricExporter(file)):
        assert exporter.force_flush() is True
        exporter.shutdown()
    assert not file.path.exists()
