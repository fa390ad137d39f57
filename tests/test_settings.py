"""What the environment and the app ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from spanback import _settings
from spanback._settings import Settings, Way
from spanback.cli import _checks
from spanback.errors import InvalidSetting


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    before = _settings.IN_FORCE.settings
    yield
    _settings.use(before)


def test_without_variables_nothing_is_captured_and_everything_is_at_its_default() -> None:
    """An empty environment asks for the defaults."""
    assert _settings.from_environment({}) == Settings()
    assert Settings().content == "no_content"
    assert Settings().feedback_content is False
    assert Settings().traces == Way((), "grpc", "none", None)


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "EVENT_only", "content", "event_only"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true", "content", "span_only"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true", "feedback_content", True),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "false", "content", "no_content"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "everything", "content", "no_content"),
        ("SPANBACK_CAPTURE_FEEDBACK_CONTENT", "yes", "feedback_content", True),
        ("SPANBACK_CAPTURE_FEEDBACK_CONTENT", "maybe", "feedback_content", False),
        ("SPANBACK_CONTENT_LIMIT_BYTES", "1024", "content_limit_bytes", 1024),
        ("SPANBACK_CONTENT_LIMIT_BYTES", "much", "content_limit_bytes", 65_536),
        ("SPANBACK_CONTENT_LIMIT_BYTES", "-1", "content_limit_bytes", 65_536),
        ("SPANBACK_CLIENTS", "openai, anthropic,", "clients", frozenset({"openai", "anthropic"})),
        ("SPANBACK_CLIENTS", "", "clients", None),
        ("SPANBACK_FILE", "telemetry/", "file", "telemetry/"),
        ("SPANBACK_FILE", "", "file", None),
        ("SPANBACK_EMIT", " LOG ", "emit", "log"),
        ("SPANBACK_EMIT", "neither", "emit", "both"),
        ("SPANBACK_CHILD_WINDOW_S", "0", "child_window_s", 0.0),
        ("SPANBACK_CHILD_WINDOW_S", "nan", "child_window_s", 300.0),
        ("SPANBACK_CHILD_WINDOW_S", "inf", "child_window_s", 300.0),
        ("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true", "emit_event", True),
        ("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "nonsense", "emit_event", False),
        ("SPANBACK_CHUNK_METRICS", "on", "chunk_metrics", True),
        ("SPANBACK_CHUNK_METRICS", "off", "chunk_metrics", False),
        ("SPANBACK_USER_HASH_KEY", "secret", "user_hash_key", b"secret"),
        ("SPANBACK_USER_HASH_KEY", "\udcff", "user_hash_key", b"\xff"),
        ("SPANBACK_FLUSH_TIMEOUT_S", "0.5", "flush_timeout_s", 0.5),
        ("OTEL_SDK_DISABLED", "true", "sdk_disabled", True),
        ("OTEL_TRACES_SAMPLER", "always_off", "sampler", "always_off"),
        ("OTEL_TRACES_SAMPLER", "", "sampler", None),
        ("OTEL_TRACES_SAMPLER_ARG", "0.1", "sampler_arg", "0.1"),
        ("OTEL_PYTHON_ID_GENERATOR", "xray", "id_generator", "xray"),
        ("OTEL_TRACES_EXPORTER", "otlp, console", "traces", Way(("otlp", "console"))),
        ("OTEL_LOGS_EXPORTER", "none", "logs", Way(("none",))),
        ("OTEL_METRICS_EXPORTER", "", "metrics", Way()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "logs", Way(protocol="http/protobuf")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "logs", Way(protocol="http/protobuf")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon", "logs", Way()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", " http://c:4317 ", "metrics", Way(endpoint="http://c:4317")),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP", "traces", Way(compression="gzip")),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "traces", Way()),
    ],
)
def test_each_variable_sets_its_field(variable: str, value: str, field: str, expected: Any) -> None:
    """A variable is understood in any case and with blanks; one that is not understood counts as not set."""
    assert getattr(_settings.from_environment({variable: value}), field) == expected


def test_a_variable_of_one_signal_goes_before_the_general_one() -> None:
    """The other signals keep the general value."""
    settings = _settings.from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "deflate",
        }
    )

    assert (settings.traces.endpoint, settings.logs.endpoint) == ("http://traces", "http://all")
    assert (settings.traces.protocol, settings.logs.protocol) == ("grpc", "http/protobuf")
    assert (settings.traces.compression, settings.metrics.compression) == ("none", "deflate")


@pytest.mark.parametrize(
    ("asked", "mode", "feedback"),
    [(True, "span_only", True), (False, "no_content", False), ("span_and_event", "span_and_event", True)],
)
def test_content_asked_for_in_code_governs_feedback_too(asked: bool | str, mode: str, feedback: bool) -> None:
    """An app's own choice replaces that of the environment."""
    settings = _settings.with_content(Settings(), asked)

    assert (settings.content, settings.feedback_content) == (mode, feedback)


def test_an_unknown_content_mode_is_refused_in_code() -> None:
    """In code a wrong name is a mistake that its author should see."""
    with pytest.raises(InvalidSetting, match=r"capture_content='all' must be True, False or one of event_only, "):
        _settings.with_content(Settings(), "all")


def test_disabled_instrumentations_are_read_at_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are split at commas."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "openai, flask")
    assert _settings.disabled_instrumentations() == {"openai", "flask"}
    monkeypatch.delenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
    assert _settings.disabled_instrumentations() == frozenset()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "demo"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a,service.name=mine"}, None),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a"}, "demo"),
    ],
)
def test_a_service_is_named_only_where_nobody_has(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str | None
) -> None:
    """The variables go before the name that the code has for its process."""
    environ = dict(variables)
    monkeypatch.setattr(os, "environ", environ)

    _settings.name_service("demo")

    assert environ.get("OTEL_SERVICE_NAME") == name


def test_settings_in_use_stay_until_the_environment_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read at the first question and again after `use(None)`."""
    monkeypatch.setenv("SPANBACK_FILE", "first")
    _settings.use(None)
    assert _settings.current().file == "first"
    monkeypatch.setenv("SPANBACK_FILE", "second")
    assert _settings.current().file == "first"
    _settings.use(None)
    assert _settings.current().file == "second"
    _settings.use(Settings(file="third"))
    assert _settings.current().file == "third"


def test_keys_and_passwords_are_never_shown() -> None:
    """Settings may be logged."""
    way = Way(endpoint="https://me:secret@collector:4318", headers="authorization=secret")
    shown = repr(Settings(user_hash_key=b"secret", file="telemetry/", traces=way, shared_index="redis://:secret@cache"))

    assert "secret" not in shown
    assert "file='telemetry/'" in shown


def test_the_variables_that_are_read_are_learnt_from_an_empty_environment() -> None:
    """It sets nothing, and knows each name that it was asked for."""
    asked = _checks._Asked()
    assert _settings.from_environment(asked) == _settings.from_environment({}) == Settings()
    assert not asked
    assert list(asked) == []
    assert asked.names == _checks.variables_read() > {"SPANBACK_INDEX", "SPANBACK_CHILD_WINDOW_S"}
