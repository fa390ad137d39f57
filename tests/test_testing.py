"""What users get for their own tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import spanback.testing
from spanback import InvalidSetting, SpanRef, _settings, record_feedback, signals
from spanback._settings import Settings
from spanback._telemetry import TELEMETRY
from spanback.testing import FeedbackRow, InMemoryTelemetry, LogRow, capture, fake_ref


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SPANBACK_CAPTURE_FEEDBACK_CONTENT", _settings.CAPTURE_CONTENT):
        monkeypatch.delenv(name, raising=False)
    _settings.use(None)
    yield
    _settings.use(None)


def test_signals_are_read_back_as_rows() -> None:
    """One row a signal, with typed fields."""
    with capture(capture_content=True) as telemetry:
        record_feedback(
            fake_ref(),
            signals.EDITED,
            label="shorter",
            comment="too long",
            improvement=["a", {"b": 1}],
            metadata={"page": "chat"},
            feedback_id="f-1",
        )
    (row,) = telemetry.feedback
    assert row == FeedbackRow(
        feedback_id="f-1",
        action="set",
        name="edited",
        score=-0.5,
        weight=0.4,
        source="user",
        type="implicit",
        label="shorter",
        comment="too long",
        improvement=["a", {"b": 1}],
        metadata={"page": "chat"},
        response_id="chatcmpl-fake",
        trace_id=fake_ref().trace_id,
        span_id=fake_ref().span_id,
        attributes=row.attributes,
        time_ns=row.time_ns,
        given_time_ns=row.time_ns,
    )
    assert 0 <= time.time_ns() - row.time_ns < 60_000_000_000
    assert row.attributes["feedback.sentiment"] == "negative"


def test_a_signal_given_twice_is_one_row_the_later_one() -> None:
    """The same id replaces, as consumers of the telemetry do it; spans and log events show both."""
    with capture() as telemetry:
        for signal in (signals.THUMBS_UP, signals.THUMBS_DOWN):
            record_feedback(fake_ref(), signal, feedback_id="f-1")
        record_feedback("chatcmpl-unknown", signals.READ, feedback_id="f-2")
    assert [(row.feedback_id, row.score, row.span_id) for row in telemetry.feedback] == [
        ("f-1", -1.0, fake_ref().span_id),
        ("f-2", 0.5, None),
    ]
    assert (len(telemetry.spans), len(telemetry.logs)) == (3, 3)


def test_spans_logs_and_metrics_of_anyone_are_kept() -> None:
    """The providers serve the app's own telemetry too."""
    telemetry = InMemoryTelemetry()
    assert (telemetry.spans, telemetry.logs, telemetry.metrics, telemetry.feedback) == ((), (), {}, ())
    telemetry.tracer_provider.get_tracer("app").start_span("work").end()
    telemetry.logger_provider.get_logger("app").emit(LogRecord(timestamp=1, body="text"))
    telemetry.meter_provider.get_meter("app").create_counter("count").add(2)
    assert [span.name for span in telemetry.spans] == ["work"]
    assert telemetry.logs == (LogRow(None, 1, 0, 0, None, "text", {}),)
    assert [point.value for point in telemetry.metrics["count"]] == [2]
    assert telemetry.feedback == ()
    telemetry.clear()
    assert (telemetry.spans, telemetry.logs) == ((), ())
    assert telemetry.logger_provider.force_flush()
    telemetry.logger_provider.shutdown()


def test_afterwards_everything_is_as_before() -> None:
    """Providers and settings in force come back, also when the block fails, and no global is set."""
    outer = InMemoryTelemetry()
    settings = Settings(child_window_s=7.0)
    before = dict(vars(TELEMETRY))
    TELEMETRY.configure(tracer_provider=outer.tracer_provider)
    tracer = TELEMETRY.tracer()
    _settings.use(settings)

    def fail() -> None:
        with capture(capture_content="span_only") as inner:
            assert _settings.current().feedback_content is True
            assert _settings.current().child_window_s == 7.0
            assert TELEMETRY.tracer() is not tracer
            record_feedback(fake_ref(), signals.SAVED)
            caught.append(inner)
            raise ZeroDivisionError

    caught: list[InMemoryTelemetry] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert TELEMETRY.tracer() is tracer
    assert _settings.current() is settings
    assert (len(caught[0].spans), len(outer.spans)) == (1, 0)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    vars(TELEMETRY).update(before)


def test_the_environment_is_heard_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later test that changes a variable is not answered from before."""
    with capture():
        pass
    monkeypatch.setenv("SPANBACK_CHILD_WINDOW_S", "9")
    assert _settings.current().child_window_s == 9.0


def test_content_that_is_no_mode_is_refused() -> None:
    """The choice is checked before anything is put in force."""
    before = dict(vars(TELEMETRY))
    with pytest.raises(InvalidSetting), capture(capture_content="some"):
        pytest.fail("not reached")
    assert vars(TELEMETRY) == before


def test_a_sampler_may_drop_the_apps_spans() -> None:
    """Apps that sample can be tested as they are."""
    with capture(sampler=ALWAYS_OFF) as telemetry:
        telemetry.tracer_provider.get_tracer("app").start_span("work").end()
        record_feedback(fake_ref(sampled=False), signals.THUMBS_UP)
    assert [span.name for span in telemetry.spans] == ["feedback user_thumbs"]


def test_a_fake_reference_is_young_sampled_and_changeable() -> None:
    """Every field can be chosen; an unknown one is an error."""
    ref = fake_ref(request_model="m", response_id=None)
    assert isinstance(ref, SpanRef)
    assert (ref.request_model, ref.response_id, ref.sampled) == ("m", None, True)
    assert 0 <= time.time_ns() - (ref.start_time_ns or 0) < 60_000_000_000
    assert ref.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    overrides: dict[str, Any] = {"nothing": 1}
    with pytest.raises(TypeError):
        fake_ref(**overrides)


def test_what_is_offered_exists() -> None:
    """Every name in __all__ is there."""
    assert all(hasattr(spanback.testing, name) for name in spanback.testing.__all__)


def test_importing_spanback_does_not_import_the_test_exporters() -> None:
    """Apps do not pay for what only tests use."""
    code = "import sys, spanback; print([n for n in sys.modules if 'in_memory' in n or n == 'spanback.testing'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
