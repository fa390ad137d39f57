"""`spanback status`: clients, settings and the way out, without secrets."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import spanback
from spanback import TargetStatus
from spanback._settings import Settings, Way, from_environment
from spanback.cli import _status, main

PATCHED = TargetStatus("openai", "openai._base_client.SyncAPIClient.request", "patched", "3.52.0", None)
MISSING = TargetStatus("openai", "openai._base_client.AsyncAPIClient.request", "missing attribute", "0.1", "not seen")
ABSENT = TargetStatus("anthropic", "anthropic", "not installed", None, None)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the instrumentation, and keeps what was asked of it."""
    asked: list[str] = []
    monkeypatch.setattr(spanback, "instrument", lambda *, set_up: asked.append(f"instrument {set_up}"))
    monkeypatch.setattr(spanback, "uninstrument", lambda: asked.append("uninstrument"))
    monkeypatch.setattr(spanback, "status", lambda: [PATCHED, ABSENT])
    for name in ("SPANBACK_FILE", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    return asked


def test_the_real_clients_are_imported_and_looked_at() -> None:
    """In its own process, `openai` is imported and both of its functions are patched; no address is looked up."""
    environment = {name: value for name, value in os.environ.items() if name != "LITELLM_LOCAL_MODEL_COST_MAP"}
    code = """
import socket, sys
from spanback.cli import main
socket.getaddrinfo = lambda *a, **k: sys.exit(f"asked for {a}")
sys.exit(main(["status", "--json"]))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    said = json.loads(done.stdout)
    assert list(said) == ["version", "targets", "settings", "export"]
    assert [
        (target["client"], target["state"]) for target in said["targets"] if "openai._base_client" in target["target"]
    ] == [
        ("openai", "patched"),
        ("openai", "patched"),
    ]
    assert done.stderr == ""


def test_tables_hold_clients_settings_and_ways(in_process: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is set up, and nothing stays instrumented."""
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Clients"
    assert lines[4] == "│ openai    │ 3.52.0  │ patched       │ openai._base_client.SyncAPIClient.request │        │"
    assert lines[5] == "│ anthropic │         │ not installed │ anthropic                                 │        │"
    assert "│ content             │ no_content │" in lines
    assert "│ traces  │ otlp      │ grpc     │ none        │ http://localhost:4317 │      │" in lines
    assert in_process == ["instrument False", "uninstrument"]


def test_clients_are_imported_where_that_decides(in_process: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that cannot be imported stops nothing."""
    waiting = TargetStatus("no_such_client", "no_such_client.f", "not imported", "1.0", "later")
    monkeypatch.setattr(spanback, "status", lambda: [waiting])
    assert _status.targets_here() == [waiting]


def test_a_missing_function_is_a_failure(
    in_process: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1, for checks in a pipeline."""
    monkeypatch.setattr(spanback, "status", lambda: [PATCHED, MISSING])
    assert main(["status", "--json"]) == 1
    assert [target["state"] for target in json.loads(capsys.readouterr().out)["targets"]] == [
        "patched",
        "missing attribute",
    ]


def test_without_rich_the_same_is_printed_as_lines(
    in_process: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fields are parted by tabs."""
    monkeypatch.setattr(_status, "find_spec", lambda name: None)
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "openai\t3.52.0\tpatched\topenai._base_client.SyncAPIClient.request\t"
    assert "content\tno_content" in lines
    assert lines[-1] == "metrics\totlp\tgrpc\tnone\thttp://localhost:4317\t"


def test_secrets_are_not_shown() -> None:
    """Of keys only whether there are some; of an address neither user, password nor query."""
    settings = from_environment(
        {
            "SPANBACK_USER_HASH_KEY": "hush",
            "SPANBACK_TOKEN_KEYS": "hs256:secret,hs256:hush",
            "SPANBACK_INDEX": "redis://me:secret@index:6379/0?password=hush",
            "SPANBACK_CLIENTS": "openai,anthropic",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:secret@collector:4317/v1?token=secret#x",
        }
    )
    said = json.dumps(_status.to_json([], settings))
    assert "hush" not in said
    assert "secret" not in said
    shown = _status.shown_settings(settings)
    assert (shown["user_hash_key"], shown["token_keys"], shown["index"]) == ("set", "set", "redis://index:6379/0")
    assert shown["clients"] == ["anthropic", "openai"]
    assert _status.shown_way(settings, settings.traces)["endpoint"] == "https://collector:4317/v1"


def test_an_address_that_is_none_is_no_failure() -> None:
    """It may hold a password all the same, so it is not shown."""
    settings = Settings(traces=Way(endpoint="http://me:secret@[::1"))
    assert _status.shown_way(settings, settings.traces)["endpoint"] == "an address that cannot be read"
    assert _status.shown_settings(Settings())["token_keys"] is None


@pytest.mark.parametrize(
    ("settings", "exporters", "endpoint", "file"),
    [
        (Settings(), ["otlp"], "http://localhost:4317", None),
        (Settings(traces=Way(protocol="http/protobuf")), ["otlp"], "http://localhost:4318", None),
        (Settings(file="t/"), [], None, "t/"),
        (Settings(file="t/", traces=Way(endpoint="http://c:4317")), ["otlp"], "http://c:4317", "t/"),
        (Settings(file="t/", traces=Way(exporters=("otlp",))), ["otlp"], "http://localhost:4317", "t/"),
        (Settings(traces=Way(exporters=("console",), endpoint="http://c:4317")), ["console"], None, None),
        (Settings(traces=Way(exporters=("none",))), [], None, None),
        (Settings(sdk_disabled=True, file="t/"), [], None, None),
    ],
)
def test_the_way_out_is_what_the_set_up_does(settings: Settings, exporters: Any, endpoint: Any, file: Any) -> None:
    """A file alone needs no exporter, and an exporter that is not OTLP has no endpoint."""
    way = _status.shown_way(settings, settings.traces)
    assert (way["exporters"], way["endpoint"], way["file"]) == (exporters, endpoint, file)
