"""`spanback show`: what it prints, where it looks, and how it fails."""

import argparse
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spanback import _settings
from spanback.cli import _show, main
from spanback.reading import TelemetryFiles

WIRE = Path(__file__).parent / "wire" / "collector.jsonl"
ANSWER = """\
2025-11-21 08:00:00Z  chat gpt-5-mini-2025-08-07  512 ms  12 -> 34 tokens  shop-bot
├── asked What is the capital of Australia?
├── answered The capital of Australia is Sydney.
├── ▼ user_thumbs  -1  weight 0.8, user, explicit
│   └── comment No, it is Canberra.
└── ✎ correction  weight 1, user, explicit
    ├── improvement {"answer": "Canberra"}
    └── metadata page=/atlas, attempt=2
"""
REST = """\
2025-11-21 08:00:30Z  chat claude-opus  1.0 s  5 tokens out  shop-bot
├── ▲ stars  4 of 5  weight 0.8, user, explicit
│   └── observed at 2025-11-21T07:59:00+00:00
└── ● groundedness  0  partly_grounded  weight 0.7, system, explicit
2025-11-21 08:01:00Z  chat gpt-5-mini  2.5 s  shop-bot  error RateLimitError
└── ▼ user_thumbs  -1  weight 0.8, user, explicit

Feedback on calls that are not in these files
span dead00beef00dead of trace c0ffee00c0ffee00c0ffee00c0ffee00  gpt-5
└── ▲ copied  +0.4  weight 0.4, user, implicit

By model
┏━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ model                 ┃ type     ┃ calls rated ┃ signals ┃ negative ┃ mean score ┃ weighted mean ┃
┡━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ claude-opus           │ explicit │           1 │       2 │        0 │      +0.25 │         +0.27 │
│ gpt-5                 │ implicit │           1 │       1 │        0 │      +0.40 │         +0.40 │
│ gpt-5-mini            │ explicit │           1 │       1 │        1 │      -1.00 │         -1.00 │
│ gpt-5-mini-2025-08-07 │ explicit │           1 │       2 │        1 │      -1.00 │         -1.00 │
└───────────────────────┴──────────┴─────────────┴─────────┴──────────┴────────────┴───────────────┘
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.delenv("SPANBACK_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    _settings.use(None)
    yield
    _settings.use(None)


def test_the_tree_holds_calls_signals_absent_calls_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe, lines are whole and without colour."""
    assert main(["show", str(WIRE)]) == 0
    assert capsys.readouterr() == (ANSWER + REST, "")


def test_json_is_one_object_a_line(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The objects are those of the rows, in UTF-8."""
    assert main(["show", str(WIRE), "--json", "--name", "user_thumbs", "--negative", "--limit", "5"]) == 0
    out = capsysbinary.readouterr().out
    with TelemetryFiles([WIRE]) as files:
        expected = [rated.to_json() for rated in files.rated(name="user_thumbs", negative=True)]
    assert [json.loads(line) for line in out.splitlines()] == expected
    assert len(expected) == 2


@pytest.mark.parametrize("place", ["telemetry", "spanback-demo", "elsewhere"])
def test_without_a_path_the_usual_places_are_read(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SPANBACK_FILE goes first, then `telemetry/` and `spanback-demo/`."""
    Path(place).mkdir()
    shutil.copy(WIRE, place)
    if place == "elsewhere":
        monkeypatch.setenv("SPANBACK_FILE", place)
    assert main(["show", "--name", "correction"]) == 0
    assert capsys.readouterr().out.startswith("2025-11-21 08:00:00Z  chat gpt-5-mini")


def test_without_anything_to_read_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2, and the way to some telemetry is named."""
    assert main(["show"]) == 2
    assert capsys.readouterr().err == (
        "There is nothing to show: name a file or a folder, set SPANBACK_FILE, or make some telemetry with "
        "`spanback demo`. Looked for telemetry/ and spanback-demo/.\n"
    )


def test_a_missing_path_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2."""
    assert main(["show", "missing.jsonl"]) == 2
    assert capsys.readouterr().err == "missing.jsonl cannot be read: No such file or directory.\n"


@pytest.mark.parametrize("path", ["file/below", "loop", "x" * 300])
def test_a_path_that_leads_nowhere_is_named(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2, whatever the system says of it."""
    Path("file").touch()
    Path("loop").symlink_to("loop")
    assert main(["show", path]) == 2
    assert capsys.readouterr().err.startswith(f"{path} cannot be read: ")
    assert main(["open", "jaeger", "fb", "--from", path]) == 1
    assert capsys.readouterr().err.startswith(f"{path} cannot be read: ")


def test_an_empty_folder_has_no_feedback(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was chosen, nothing is said of a choice, but of which files would be read."""
    assert main(["show", "."]) == 0
    assert capsys.readouterr() == (
        "",
        "No feedback in 0 files: none in the folder is named .json, .jsonl or .ndjson.\n",
    )


@pytest.mark.parametrize(("copies", "where"), [(1, "1 file"), (2, "2 files")])
def test_no_feedback_is_no_failure(copies: int, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told on standard error, so that a pipe gets nothing."""
    assert main(["show", *[str(WIRE)] * copies, "--name", "never_given"]) == 0
    assert capsys.readouterr() == ("", f"No such feedback in {where}.\n")


@pytest.mark.parametrize(("count", "told"), [(1, 2), (12, 12)])
def test_damaged_lines_are_told_once_at_the_end(count: int, told: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The first ten are named, on standard error."""
    Path("t.jsonl").write_text("garbage\n" * count + WIRE.read_text())
    assert main(["show", "t.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert out == ANSWER + REST
    lines = err.splitlines()
    assert len(lines) == told
    assert lines[0] == ("1 place could not be read:" if count == 1 else "12 places could not be read:")
    assert lines[1] == "  t.jsonl:1: is no JSON object"
    assert count == 1 or lines[-1] == "  and 2 more"


def test_a_file_that_cannot_be_read_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """The other files are shown, and the exit code is 1."""
    Path("t.zst").write_bytes(b"\x28\xb5\x2f\xfdxxxx")
    assert main(["show", "t.zst", str(WIRE)]) == 1
    assert capsys.readouterr() == (
        ANSWER + REST,
        "1 place could not be read:\n  t.zst: is compressed with zstd, which is not read: unpack it first (zstd -d)\n",
    )


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1, and the variable that helps is named."""

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(TelemetryFiles, "rated", full)
    assert main(["show", str(WIRE)]) == 1
    assert capsys.readouterr().err == (
        "The temporary database cannot be written (database or disk is full); TMPDIR names where it lies.\n"
    )


@pytest.mark.parametrize(
    ("text", "age_s"), [("90s", 90), ("30m", 1_800), ("2h", 7_200), (" 7 d ", 604_800), ("1w", 604_800)]
)
def test_since_takes_ages(text: str, age_s: int) -> None:
    """Ages count back from now."""
    assert _show.since_ns(text) == pytest.approx(time.time_ns() - age_s * 10**9, abs=5 * 10**9)


def test_since_takes_times() -> None:
    """An age beyond 1970 is since ever."""
    assert _show.since_ns("2025-11-21T08:00Z") == 1_763_712_000_000_000_000
    assert _show.since_ns("99999999w") == 0
    with pytest.raises(argparse.ArgumentTypeError, match=r"'soon' is neither an age \(30m, 2h, 7d\) nor an ISO time"):
        _show.since_ns("soon")


@pytest.mark.parametrize("words", [["--since", "soon"], ["--limit", "0"], ["--limit", "many"]])
def test_a_wrong_argument_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2, as for every wrong call."""
    with pytest.raises(SystemExit) as stopped:
        main(["show", *words])
    assert stopped.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_without_rich_only_json_works(run_without: Any) -> None:
    """The message names the extra."""
    code = (
        f"from spanback.cli import main; print(main(['show', {str(WIRE)!r}])); main(['show', {str(WIRE)!r}, '--json'])"
    )
    out = run_without("rich", f"import sys; sys.stderr = sys.stdout; {code}").splitlines()
    assert out[0] == "spanback show needs rich to draw: pip install 'spanback[cli]', or use --json."
    assert out[1] == "2"
    assert [json.loads(line)["span_id"] for line in out[2:]] == [
        "b7ad6b7169203331",
        "eee19b7ec3c1b174",
        "00f067aa0ba902b7",
        "dead00beef00dead",
    ]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_closed_pipe_is_no_failure(form: list[str]) -> None:
    """`spanback show | head -1` ends without a word, though more than a pipe holds is left to print."""
    line = WIRE.read_text()
    Path("t.jsonl").write_text("".join(line.replace("fb-", f"fb-{n}-") for n in range(300)))
    command = [sys.executable, "-m", "spanback", "show", "t.jsonl", *form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_terminal_that_knows_no_unicode_gets_question_marks() -> None:
    """What an encoding cannot say is replaced, and the rest is printed."""
    command = [sys.executable, "-m", "spanback", "show", "t.jsonl", "--name", "correction"]
    Path("t.jsonl").write_text(WIRE.read_text().replace("/atlas", "/\u00e9"))
    environ = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert "`-- * correction  weight 1, user, explicit" in done.stdout
    assert "metadata page=/?, attempt=2" in done.stdout


def test_the_bar_shows_itself_when_reading_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not at once, not without rich, and it is gone in the end."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert main(["show", str(WIRE)]) == 0
    assert terminal.getvalue() == ""
    monkeypatch.setattr(_show, "_BAR_DELAY_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["show", str(WIRE)]) == 0
    assert "Reading" in terminal.getvalue()
    assert capsys.readouterr().out == 2 * (ANSWER + REST)
    shown = len(terminal.getvalue())
    monkeypatch.setattr(_show, "find_spec", lambda name: None)
    assert main(["show", str(WIRE), "--json"]) == 0
    assert len(terminal.getvalue()) == shown


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """`spanback show --help` names the forms of WHEN and of PATH."""
    with pytest.raises(SystemExit):
        main(["show", "--help"])
    out = capsys.readouterr().out
    assert "spanback show telemetry/ --negative --since 7d" in out
    assert "30m, 2h, 7d, or an ISO time" in out


def test_output_that_is_no_file_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced standard output needs no encoding of its own."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["show", str(WIRE)]) == 0
    assert out.getvalue() == ANSWER + REST


def test_a_wide_console_is_only_for_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's own width holds."""
    from spanback.cli._tree import PipeConsole

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")
    assert PipeConsole().width == 50
    assert isinstance(PipeConsole(), Console)
