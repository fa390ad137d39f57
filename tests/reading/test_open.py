"""`spanback open`: the addresses, and where a signal is looked for."""

import json
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from spanback.cli import main
from spanback.cli._open import Place, grafana_address
from tests.reading.writing import logs_line

WIRE = Path(__file__).parent / "wire" / "collector.jsonl"
RATED = "0af7651916cd43dd8448eb211c80319c?uiFind=b7ad6b7169203331"


def test_a_signal_in_files_is_shown_by_jaeger(capsys: pytest.CaptureFixture[str]) -> None:
    """The response goes first; the signal's own span is in the same trace or in one of its own."""
    assert main(["open", "jaeger", "fb-fix", "--from", str(WIRE), "--url", "https://j.example/", "--print"]) == 0
    response, feedback = capsys.readouterr().out.splitlines()
    assert response == f"response  https://j.example/trace/{RATED}"
    assert feedback.startswith("feedback  https://j.example/trace/")


def test_a_browser_is_given_the_response(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is none, that is told and the exit code is 1."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or len(opened) == 1)
    assert [main(["open", "jaeger", "fb-fix", "--from", str(WIRE)]) for _ in range(2)] == [0, 1]
    assert opened == [f"http://localhost:16686/trace/{RATED}"] * 2
    assert capsys.readouterr().err == "There is no browser to open it with.\n"


def test_tempo_is_shown_by_grafana_or_by_its_own_api(capsys: pytest.CaptureFixture[str]) -> None:
    """Explore gets the data source, the trace, the span and two hours around the signal."""
    given = ["open", "tempo", "fb-fix", "--from", str(WIRE), "--print"]
    assert main(given) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "response  http://localhost:3200/api/v2/traces/0af7651916cd43dd8448eb211c80319c"
    )
    assert main([*given, "--grafana", "http://g:3000", "--datasource", "uid-1"]) == 0
    address = capsys.readouterr().out.splitlines()[0].removeprefix("response  ")
    place = Place("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1_763_712_045_000_000_000)
    assert address == grafana_address("http://g:3000/", "uid-1", place)
    parts = urlsplit(address)
    assert (parts.netloc, parts.path) == ("g:3000", "/explore")
    (pane,) = json.loads(parse_qs(parts.query)["panes"][0]).values()
    assert pane == {
        "datasource": "uid-1",
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": "tempo", "uid": "uid-1"},
                "queryType": "traceql",
                "query": "0af7651916cd43dd8448eb211c80319c",
            }
        ],
        "range": {"from": "1763708445000", "to": "1763715645000"},
        "panelsState": {"trace": {"spanId": "b7ad6b7169203331"}},
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fb-none", "--from", str(WIRE)], "No signal fb-none in 1 file; look further back with --since"),
        (["fb-fix", "--from", "missing.jsonl"], "missing.jsonl"),
        (["fb-fix", "--url", "http://127.0.0.1:1"], "http://127.0.0.1:1/api/v3/services: does not answer: "),
    ],
)
def test_what_cannot_be_found_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1."""
    assert main(["open", "jaeger", *arguments, "--print"]) == 1
    assert told in capsys.readouterr().err


def test_a_log_event_without_a_response_has_no_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no span to show."""
    event = {"attributes": [{"key": "feedback.id", "value": {"stringValue": "fb-log"}}]}
    (tmp_path / "logs.jsonl").write_text(logs_line(event))
    assert main(["open", "jaeger", "fb-log", "--from", str(tmp_path), "--print"]) == 1
    assert capsys.readouterr().err.startswith("Signal fb-log names no span")
