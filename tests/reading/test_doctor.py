"""`spanback doctor`: each step by itself, and how it is printed. Before real servers it is in tests/backends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

import spanback
from spanback import TargetStatus, _settings
from spanback._settings import Settings, Way
from spanback.cli import _checks, _doctor, _status, main
from spanback.cli._checks import Check
from spanback.export._probe import Probe, Sent

PATCHED = TargetStatus("openai", "openai.request", "patched", "3.52.0", None)
MISSING = TargetStatus("openai", "openai.stream", "missing attribute", "3.52.0", None)
ABSENT = TargetStatus("anthropic", "anthropic", "not installed", None, None)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variables but those of a test, also afterwards, and no client is imported."""
    for name in _settings.variables_set():
        monkeypatch.delenv(name)
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        # Set once, so that what the command sets is taken back.
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setattr(_status, "targets_here", lambda: [PATCHED])
    _settings.use(None)
    yield
    _settings.use(None)


def _states(checks: Any) -> list[tuple[str, str]]:
    return [(check.state, check.detail) for check in checks]


@pytest.mark.parametrize(
    ("found", "state"), [("1.45.2", "ok"), ("1.38.0", "ok"), ("1.37.0", "failed"), ("1.9.0rc1", "failed")]
)
def test_an_sdk_that_is_too_old_is_told(found: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that helps."""
    monkeypatch.setattr(_checks, "version", lambda name: found)
    (check,) = _checks.check_versions()
    assert (check.state, check.detail.endswith(f"OpenTelemetry SDK {found}")) == (state, True)
    assert (check.advice is None) == (state == "ok")


def test_an_sdk_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nothing else can be tried."""

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_checks, "version", absent)
    assert _states(_checks.check_versions()) == [("failed", "opentelemetry-sdk is not installed")]


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([PATCHED, ABSENT], ("ok", "openai 3.52.0")),
        ([PATCHED, MISSING], ("failed", "not found: openai.stream")),
        ([ABSENT], ("warning", "no client that spanback knows is installed")),
    ],
)
def test_clients_are_what_status_says(targets: Any, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is not there is a failure, no client at all is odd."""
    monkeypatch.setattr(_status, "targets_here", lambda: targets)
    assert _states(_checks.check_clients()) == [said]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, [("ok", "none is set: everything is as by default")]),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_MINE": "1"}, [("ok", "OTEL_TRACES_SAMPLER")]),
        ({"SPANBACK_FIEL": "t/"}, [("warning", "nothing reads SPANBACK_FIEL")]),
        ({"OTEL_EXPORTER_OTLP_ENDPONT": "x"}, [("warning", "nothing reads OTEL_EXPORTER_OTLP_ENDPONT")]),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http"},
            [("warning", "OTEL_EXPORTER_OTLP_PROTOCOL=http is taken for http/protobuf")],
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "gprc"},
            [("warning", "OTEL_EXPORTER_OTLP_PROTOCOL=gprc is taken for grpc")],
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "", "OTEL_EXPORTER_OTLP_ENDPOINT": " ", "SPANBACK_EMIT": ""},
            [("ok", "OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL, SPANBACK_EMIT")],
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"},
            [("warning", "OTEL_EXPORTER_OTLP_ENDPOINT names no http:// or https:// address")],
        ),
        ({"SPANBACK_EMIT": "spans"}, [("warning", "SPANBACK_EMIT is not understood, and counts as not set")]),
        ({"SPANBACK_ADOPT": "maybe"}, [("warning", "SPANBACK_ADOPT is not understood, and counts as not set")]),
        (
            {"SPANBACK_CHILD_WINDOW_S": "5m"},
            [("warning", "SPANBACK_CHILD_WINDOW_S is not understood, and counts as not set")],
        ),
        (
            {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "all"},
            [
                (
                    "warning",
                    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is not understood, and counts as not set",
                )
            ],
        ),
        (
            {"SPANBACK_ADOPT": "Off", "SPANBACK_INDEX_TTL_S": "60", "SPANBACK_SPOOL_FULL": "raise"},
            [("ok", "SPANBACK_ADOPT, SPANBACK_INDEX_TTL_S, SPANBACK_SPOOL_FULL")],
        ),
        (
            {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "c:4317"},
            [("warning", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT names no http:// or https:// address")],
        ),
        ({"OTEL_TRACES_SAMPLER": "some"}, [("failed", "OTEL_TRACES_SAMPLER=some is not installed")]),
        ({"OTEL_LOGS_EXPORTER": "otlp,kafka"}, [("failed", "OTEL_LOGS_EXPORTER=kafka is not installed")]),
        ({"OTEL_SDK_DISABLED": "true"}, [("failed", "OTEL_SDK_DISABLED switches all telemetry off")]),
    ],
)
def test_variables_are_read_as_the_app_would(
    variables: dict[str, str], said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Misspelt names, values that are not understood, and what switches everything off."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _states(_checks.check_variables(_settings.from_environment())) == said


@pytest.mark.parametrize(
    ("settings", "state", "detail"),
    [
        (Settings(), "ok", "parentbased_always_on keeps every call"),
        (Settings(sampler="always_off"), "warning", "always_off keeps no call"),
        (Settings(sampler="traceidratio", sampler_arg="0.1"), "ok", "traceidratio keeps a share of 0.1 of the calls"),
        (Settings(sampler="mine"), "ok", "mine keeps what mine decides"),
    ],
)
def test_sampling_is_said_in_words(settings: Settings, state: str, detail: str) -> None:
    """Feedback is kept in any case."""
    assert _states(_checks.check_sampling(settings)) == [(state, f"{detail}; feedback is kept in any case")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(file="t/"), ("skipped", "telemetry goes to t/ only")),
        (Settings(sdk_disabled=True), ("failed", "telemetry goes nowhere")),
    ],
)
def test_without_an_exporter_nothing_is_asked(settings: Settings, said: Any) -> None:
    """A file alone is a choice, nothing at all is none."""
    assert _states(_checks.check_reachable(settings)) == [said]


def test_a_signal_without_an_exporter_is_left_out() -> None:
    """The others are sent."""
    none = Way(exporters=("none",))
    probe = Probe(Settings(traces=none, logs=none, metrics=none))
    assert [probe.send(signal) for signal in ("traces", "logs", "metrics")] == [Sent("unset")] * 3
    spanback.instrument(clients=[], set_up=False, **probe.providers)
    try:
        assert [check.state for check in _checks.check_accepted(Settings(), probe)] == ["skipped"] * 3
        (late,) = _checks.check_late(probe, "jaeger+http://127.0.0.1:1", 0)
    finally:
        spanback.uninstrument()
        probe.close()
    assert (late.state, late.detail) == ("failed", "it could not be sent: unset")


@pytest.mark.parametrize(
    ("carriers", "rated", "state", "detail"),
    [
        (0, 0, "failed", "nothing arrived of 20 calls and as many signals"),
        (20, 20, "ok", "20 of 20 signals arrived that were given 5 s after their calls; 20 of 20 calls"),
        (20, 2, "ok", "2 of 20 calls: the rest is sampled out on the way, as may be meant"),
        (3, 3, "failed", "3 of 20 calls: a sampler on the way drops feedback"),
    ],
)
def test_late_feedback_must_arrive_whole(carriers: int, rated: int, state: str, detail: str) -> None:
    """Calls may be sampled out; feedback may not."""
    check = _checks._late("late feedback: jaeger", carriers, rated, 5.0)
    assert (check.state, check.detail.endswith(detail)) == (state, True)


def test_steps_are_printed_with_what_to_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rich and without it the same words; the exit code is that of the worst step."""
    given = ["doctor", "--endpoint", "http://127.0.0.1:1"]
    assert main(given) == 1
    shown = capsys.readouterr().out
    monkeypatch.setattr(_doctor, "find_spec", lambda name: None)
    assert main(given) == 1
    assert capsys.readouterr().out == shown
    lines = shown.splitlines()
    assert lines[0].startswith(f"ok      versions  Python {sys.version_info[0]}.")
    assert lines[1] == "ok      clients  openai 3.52.0"
    assert lines[-2:] == [
        "        -> Start a collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one is.",
        "skipped collector  not asked, since no address answers",
    ]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (Check("a", "ok", "b", "Do this"), "        -> Do this."),
        (Check("a", "ok", "b", "Is it this?"), "        -> Is it this?"),
    ],
)
def test_advice_ends_as_a_sentence(check: Check, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A question keeps its mark."""
    _doctor._print_line(check)
    assert capsys.readouterr().out == f"ok      a  b\n{said}\n"


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon"])
def test_a_wait_that_is_none_is_refused(wait: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is sent."""
    with pytest.raises(SystemExit):
        main(["doctor", f"--wait={wait}"])
    assert f"'{wait}' is no number of seconds from 0 to 3600" in capsys.readouterr().err


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    assert main(["doctor", "--endpoint", "http://127.0.0.1:1", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["ok", "checks"]
    assert said["checks"][1] == Check("clients", "ok", "openai 3.52.0").to_json()


def test_an_address_without_a_scheme_is_reached_by_its_port(tmp_path: Path) -> None:
    """As the gRPC exporter takes it."""
    check = _checks._reached("127.0.0.1:1", "traces")
    assert check.state == "failed"
    assert check.detail.startswith("nothing answers at 127.0.0.1:1 (traces): ")


def test_an_address_without_a_port_that_there_can_be_is_told() -> None:
    """As one where nothing answers."""
    check = _checks._reached("http://127.0.0.1:99999", "logs")
    assert (check.state, check.detail) == (
        "failed",
        "nothing answers at http://127.0.0.1:99999 (logs): Port out of range 0-65535",
    )
