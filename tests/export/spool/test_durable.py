"""`instrument(durable=...)`: what a receipt promises, and what leaves by which way."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import ProxyTracerProvider

import spanback
from spanback import SpoolFull, SpoolUnavailable, _settings, signals
from spanback._telemetry import TELEMETRY
from spanback.export._spool._spool import SPOOLS
from spanback.feedback._carrier_tracer import holding_logger, holding_tracer
from spanback.feedback._receipt import Receipt
from spanback.testing import fake_ref
from tests.backends.servers import eventually
from tests.conftest import Counted, Memory
from tests.export.backends import free_port
from tests.export.spool.backend import Backend, Reply

Durable = Callable[..., None]
NOWHERE = f"http://127.0.0.1:{free_port()}"


def spool() -> Any:
    """The one in force."""
    return TELEMETRY.spool


def waiting() -> dict[str, int]:
    """How many records wait."""
    return spool()._outbox.counts()


def test_a_receipt_says_that_the_signal_is_on_disk(durable: Durable, backend: Backend) -> None:
    """The receipt is exact, and the backend gets the same span and log record by the spool."""
    durable(backend)
    ref = fake_ref()
    receipt = spanback.record_feedback(ref, signals.THUMBS_UP, feedback_id="one")
    assert receipt == Receipt(
        "one", "spooled", "child", ref, receipt.trace_id, receipt.span_id, (), "in the rated span's trace"
    )
    assert spanback.flush(30.0)
    assert backend.accepted == {"traces": ["one"], "logs": ["one"]}
    (message,) = backend.requests["traces"]
    (span,) = message.resource_spans[0].scope_spans[0].spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.name) == (
        receipt.trace_id,
        receipt.span_id,
        "feedback user_thumbs",
    )
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1_000
    assert [link.span_id.hex() for link in span.links] == [f"{ref.span_id:016x}"]
    (message,) = backend.requests["logs"]
    (record,) = message.resource_logs[0].scope_logs[0].log_records
    assert (record.span_id.hex(), record.event_name) == (f"{ref.span_id:016x}", "gen_ai.evaluation.result")
    assert waiting() == {"dead": 0, "traces": 0, "logs": 0}


def test_the_signal_is_on_disk_before_the_receipt_is_there(durable: Durable, path: str) -> None:
    """Another process finds it in the file as soon as the call has returned, whatever the backend does."""
    import sqlite3

    durable(NOWHERE)
    spanback.record_feedback(fake_ref(), score=1.0, feedback_id="one")
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT feedback_id, has_twin FROM traces").fetchall() == [("one", 1)]
        assert connection.execute("SELECT feedback_id, has_twin FROM logs").fetchall() == [("one", 1)]
    assert not spanback.flush(1.0)


@pytest.mark.parametrize(("emit", "kinds"), [("span", ["traces"]), ("log", ["logs"])])
def test_only_the_forms_that_are_asked_for_are_spooled(
    emit: str, kinds: list[str], durable: Durable, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One form alone has no twin that could stand in for it."""
    monkeypatch.setenv("SPANBACK_EMIT", emit)
    durable(backend)
    receipt = spanback.record_feedback(fake_ref(), score=1.0)
    assert receipt.status == "spooled"
    assert (receipt.reason == "as a log event only") is (emit == "log")
    assert spanback.flush(30.0)
    assert [kind for kind, ids in backend.accepted.items() if ids] == kinds


def test_all_kinds_of_signals_are_spooled(durable: Durable, backend: Backend) -> None:
    """Unresolved targets, preferences, withdrawals and batches are as durable as a thumb."""
    durable(backend)
    unknown = spanback.record_feedback("chatcmpl-unknown", score=0.5, feedback_id="unknown")
    assert (unknown.status, unknown.target, unknown.placement) == ("spooled", None, "linked")
    assert (
        spanback.record_preference(fake_ref(), fake_ref(span_id=1, response_id="other"), feedback_id="pair").status
        == "spooled"
    )
    assert spanback.retract_feedback("unknown").status == "spooled"
    many = spanback.record_many([{"target": fake_ref(), "score": 0.1, "feedback_id": f"m{n}"} for n in range(300)])
    assert {receipt.status for receipt in many} == {"spooled"}
    assert spanback.flush(30.0)
    expected = ["unknown", "pair", "unknown", *(f"m{n}" for n in range(300))]
    assert backend.accepted == {"traces": expected, "logs": expected}


def test_the_apps_own_exporters_see_what_is_committed(
    durable: Durable, backend: Backend, memory: Memory, tmp_path: Path
) -> None:
    """Memory, files and consoles get the signal as well; what sends by OTLP to the same address does not."""
    spans = BatchSpanProcessor(OTLPSpanExporter(f"{backend.url}/v1/traces"))
    logs = BatchLogRecordProcessor(OTLPLogExporter(f"{backend.url}/v1/logs"))
    memory.tracer_provider.add_span_processor(spans)
    memory.logger_provider.add_log_record_processor(logs)
    durable(backend, file=tmp_path / "telemetry")
    spanback.record_feedback(fake_ref(), score=1.0, feedback_id="one")
    assert spanback.flush(30.0)
    assert memory.span.name == "feedback user_feedback"
    assert [record.event_name for record in memory.logs] == ["gen_ai.evaluation.result"]
    assert "feedback user_feedback" in (tmp_path / "telemetry" / "traces.jsonl").read_text()
    assert (tmp_path / "telemetry" / "logs.jsonl").exists()
    assert backend.accepted == {"traces": ["one"], "logs": ["one"]}
    spans.shutdown()
    logs.shutdown()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_exporter_to_another_address_is_none_of_the_spools(
    protocol: str, durable: Durable, backend: Backend, memory: Memory
) -> None:
    """An app that also sends elsewhere goes on doing so, the ordinary way."""
    processor = BatchSpanProcessor(
        OTLPSpanExporter("http://127.0.0.1:9/v1/traces") if protocol != "grpc" else GrpcSpanExporter("127.0.0.1:9")
    )
    durable(backend)
    assert not spool().replaces(processor, "traces")
    same = OTLPSpanExporter(f"{backend.url}/other/path") if protocol != "grpc" else GrpcSpanExporter(backend.url)
    assert spool().replaces(BatchSpanProcessor(same), "traces")
    assert not spool().replaces(object(), "traces")


@pytest.mark.odd_telemetry("unknown name tenant")
def test_what_redacts_sees_the_signal_first(durable: Durable, backend: Backend, memory: Memory) -> None:
    """A processor that changes what passes is asked before the commit."""

    class Redacting(Counted):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span.set_attribute("tenant", "acme")

        def on_emit(self, log_record: Any) -> None:
            log_record.log_record.body = "redacted"

        def enabled(self, **_of: Any) -> bool:
            return True

        def shutdown(self) -> None: ...

    memory.tracer_provider.add_span_processor(Redacting())
    memory.logger_provider.add_log_record_processor(Redacting())
    durable(backend)
    spanback.record_feedback(fake_ref(), score=1.0)
    assert spanback.flush(30.0)
    (span,) = backend.requests["traces"][0].resource_spans[0].scope_spans[0].spans
    assert "acme" in [one.value.string_value for one in span.attributes]
    (record,) = backend.requests["logs"][0].resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == "redacted"


def test_a_full_spool_refuses_and_nothing_is_emitted(
    durable: Durable, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app is told by an exception, no exporter has seen the signal and no metric counts it."""
    monkeypatch.setenv("SPANBACK_SPOOL_LIMIT_BYTES", "100000")
    durable(NOWHERE)
    batch = [{"target": fake_ref(), "score": 1.0} for _ in range(100)]
    with pytest.raises(SpoolFull, match=r"takes no signal: its limit of 100,000 bytes is reached"):
        spanback.record_many(batch)
    assert memory.spans == []
    assert memory.logs == []
    assert "feedback.count" not in memory.metrics()
    assert spanback.record_feedback(fake_ref(), score=1.0).status == "spooled"
    assert memory.span.name == "feedback user_feedback"


def test_a_full_spool_makes_room_where_the_app_says_so(
    durable: Durable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest go, which is said once a minute."""
    monkeypatch.setenv("SPANBACK_SPOOL_LIMIT_BYTES", "200000")
    monkeypatch.setenv("SPANBACK_SPOOL_FULL", "drop_oldest")
    durable(NOWHERE)
    for _ in range(12):
        receipts = spanback.record_many([{"target": fake_ref(), "score": 1.0} for _ in range(10)])
        assert {receipt.status for receipt in receipts} == {"spooled"}
    lines = [record.getMessage() for record in caplog.records if "is full" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith("of its oldest records were dropped for new ones. Said once a minute.")


def test_where_nothing_can_be_written_the_ordinary_way_is_left(
    durable: Durable, backend: Backend, path: str, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `drop_oldest` a broken spool does not stop feedback, and the receipt says that it is not durable."""
    monkeypatch.setenv("SPANBACK_SPOOL_FULL", "drop_oldest")
    memory.tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{backend.url}/v1/traces")))
    Path(path).write_bytes(b"no database" * 1_000)
    durable(backend)
    receipt = spanback.record_feedback(fake_ref(), score=1.0, feedback_id="one")
    assert receipt.status == "recorded"
    assert receipt.reason == "not spooled, since SQLite says: file is not a database; in the rated span's trace"
    memory.tracer_provider.force_flush()
    assert backend.accepted["traces"] == ["one"]
    monkeypatch.setenv("SPANBACK_SPOOL_FULL", "raise")
    durable(backend)
    with pytest.raises(SpoolUnavailable):
        spanback.record_feedback(fake_ref(), score=1.0)
    memory.tracer_provider.shutdown()


class Queue:
    """Notes what is exported."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def export(self, batch: Any) -> Any:
        """Takes it."""
        self.got += batch

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Has nothing to do."""
        return True

    def shutdown(self) -> None:
        """Has nothing to do."""


@pytest.mark.parametrize("is_writable", [True, False])
@pytest.mark.parametrize("others", ["none", "replaced", "mixed"])
def test_processors_that_only_export_get_what_the_spool_does_not_take(
    others: str, is_writable: bool, durable: Durable, backend: Backend, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal goes to those that the spool replaces only where it has not taken it, and to the others in any case."""
    monkeypatch.setenv("SPANBACK_SPOOL_FULL", "drop_oldest")
    if not is_writable:
        Path(path).write_bytes(b"no database" * 1_000)
    tracers, loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    spans: Any = Queue()
    logs: Any = Queue()
    if others != "none":
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{backend.url}/v1/traces")))
        loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{backend.url}/v1/logs")))
    if others == "mixed":
        tracers.add_span_processor(BatchSpanProcessor(spans))
        loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
    durable(backend, tracer_provider=tracers, logger_provider=loggers)
    receipt = spanback.record_feedback(fake_ref(), score=1.0, feedback_id="one")
    assert receipt.status == ("spooled" if is_writable else "recorded")
    tracers.force_flush()
    loggers.force_flush()
    assert spanback.flush(30.0) == is_writable
    reached = is_writable or others != "none"
    assert backend.accepted == {"traces": ["one"] * reached, "logs": ["one"] * reached}
    assert [len(spans.got), len(logs.got)] == [int(others == "mixed")] * 2
    assert {f"{one.context.span_id:016x}" for one in spans.got} <= {receipt.span_id}
    tracers.shutdown()
    loggers.shutdown()


def test_a_record_without_a_form_in_protobuf_is_refused(
    durable: Durable, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be encoded is said, not lost."""
    from spanback.export._spool import _spool

    def fail(_signals: Any) -> None:
        raise ValueError("surrogates not allowed")

    monkeypatch.setattr(_spool, "encoded", fail)
    durable(backend)
    with pytest.raises(SpoolUnavailable, match="a record cannot be encoded: surrogates not allowed"):
        spanback.record_feedback(fake_ref(), score=1.0)


def test_a_kind_that_does_not_leave_by_otlp_takes_the_ordinary_way(
    durable: Durable, backend: Backend, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OTEL_LOGS_EXPORTER=none the spans are spooled and the log records are not."""
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    durable(backend)
    assert spanback.record_feedback(fake_ref(), score=1.0).status == "spooled"
    assert spanback.flush(30.0)
    assert [len(backend.accepted[kind]) for kind in ("traces", "logs")] == [1, 0]
    assert len(memory.logs) == 1


def test_a_spool_with_nowhere_to_send_to_is_none(
    durable: Durable, memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no OTLP exporter is asked for there is no spool, which is said."""
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    durable(NOWHERE)
    assert spanback.record_feedback(fake_ref(), score=1.0).status == "recorded"
    assert "has nowhere to send to" in caplog.text
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    durable(NOWHERE)
    assert TELEMETRY.spool is None


def test_providers_that_are_not_of_the_sdk_are_used_as_they_are(durable: Durable, backend: Backend) -> None:
    """Nothing can be held back from another implementation, and the receipt does not say that it was."""
    assert holding_tracer(ProxyTracerProvider().get_tracer("x"), lambda one: one) is None
    from opentelemetry._logs import NoOpLogger

    assert holding_logger(NoOpLogger("x"), lambda one: one) is None
    durable(backend)
    held = spool().sends
    spool().sends = lambda _kind: False
    assert spanback.record_feedback(fake_ref(), score=1.0).status == "recorded"
    spool().sends = held


def test_a_provider_with_one_processor_of_its_own_kind(durable: Durable, backend: Backend) -> None:
    """A provider may have another processor than the SDK's list of them."""
    counted = Counted()
    own: Any = counted
    own.add_span_processor = lambda _processor: None
    provider = TracerProvider(active_span_processor=own, shutdown_on_exit=False)
    durable(backend, tracer_provider=provider)
    spanback.record_feedback(fake_ref(), score=1.0)
    assert counted.ended == 1


def test_without_a_provider_nothing_is_spooled(durable: Durable, path: str) -> None:
    """Where nobody makes spans there is nothing to keep."""
    spanback.uninstrument()
    spanback.instrument(durable=path, set_up=False, clients=[])
    assert spanback.record_feedback(fake_ref(), score=1.0).status == "disabled"
    assert not os.path.exists(path)  # noqa: PTH110 - a text here


def test_threads_and_event_loops_get_receipts_of_their_own(durable: Durable, backend: Backend) -> None:
    """Many threads at once, and an event loop by `asyncio.to_thread`, each get what they gave."""
    durable(backend)
    ids: list[str] = []

    def give(name: str) -> None:
        names = (f"{name}-{number}" for number in range(20))
        ids.extend(spanback.record_feedback(fake_ref(), score=1.0, feedback_id=one).feedback_id for one in names)

    async def serve() -> None:
        await asyncio.gather(*(asyncio.to_thread(give, f"task{number}") for number in range(4)))

    threads = [threading.Thread(target=give, args=(f"thread{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(serve())
    for thread in threads:
        thread.join()
    assert spanback.flush(10.0)
    assert len(ids) == 160
    assert sorted(backend.accepted["traces"]) == sorted(backend.accepted["logs"]) == sorted(ids)


def test_the_spool_is_counted(durable: Durable, memory: Memory, backend: Backend) -> None:
    """Two gauges say how much waits and how much was rejected."""
    backend.answer = lambda kind, ids: Reply(400, "no") if "bad" in ids else Reply(503)
    durable(backend)
    assert spanback.record_feedback(fake_ref(), score=1.0, feedback_id="bad").status == "spooled"
    eventually(lambda: waiting() == {"dead": 2, "traces": 0, "logs": 0})
    spanback.record_feedback(fake_ref(), score=1.0, feedback_id="good")
    metrics = memory.metrics()
    for name in ("feedback.spool.pending", "feedback.spool.dead_letters"):
        assert [(point.value, dict(point.attributes)) for point in metrics[name].data.data_points] == [(2, {})]
    spool()._outbox.counts = lambda: 1 / 0
    assert list(spool()._counted(("dead",), None)) == []


def test_a_closed_spool_is_not_counted(durable: Durable, memory: Memory) -> None:
    """A meter goes on asking, and the file stays closed."""
    durable(NOWHERE)
    spanback.record_feedback(fake_ref(), score=1.0)
    closed = spool()
    SPOOLS.close(0.0)
    assert "feedback.spool.pending" not in memory.metrics()
    assert closed._outbox._database._connection is None


def test_what_an_earlier_process_left_is_sent_with_the_first_span(
    durable: Durable, backend: Backend, memory: Memory
) -> None:
    """A new process sends what it finds, before it has any feedback of its own."""
    durable(NOWHERE)
    spanback.record_feedback(fake_ref(), score=1.0, feedback_id="old")
    SPOOLS.close(0.0)
    durable(backend)
    assert TELEMETRY.tracer() is not None
    eventually(lambda: backend.accepted == {"traces": ["old"], "logs": ["old"]})


def test_one_file_is_one_spool(durable: Durable, backend: Backend, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instrumenting again keeps the spool; with other settings it is opened anew and loses nothing."""
    durable(NOWHERE)
    spanback.record_feedback(fake_ref(), score=1.0, feedback_id="one")
    first = spool()
    durable(NOWHERE, durable=os.path.join(os.path.dirname(path), ".", "spool.db"))  # noqa: PTH118, PTH120
    assert spool() is first
    durable(backend)
    assert spool() is not first
    assert spanback.flush(30.0)
    assert backend.accepted["traces"] == ["one"]
    settings = _settings.current()
    assert spool().is_for(settings)
    assert spool().falls_back is False


def test_senders_that_cannot_start_leave_the_signal_on_disk(
    durable: Durable, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the interpreter's exit no thread can be started; the next process sends."""
    from spanback.export._spool._sender import Sender

    def fail(_self: Sender) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(Sender, "start", fail)
    durable(backend)
    assert spanback.record_feedback(fake_ref(), score=1.0).status == "spooled"
    assert waiting() == {"dead": 0, "traces": 1, "logs": 1}
    assert spanback.flush(1.0), "nobody sends here, so there is nothing to wait for"


@pytest.mark.parametrize("wrong", ["", "  ", 5, b"spool.db", "a\0b"])
def test_a_path_that_is_none_is_refused(wrong: Any, instrument: Callable[..., None]) -> None:
    """The setting, the value and the rule are named."""
    with pytest.raises(spanback.InvalidSetting, match=r"durable=.* must name a file"):
        instrument(durable=wrong)


def test_the_variables_are_read() -> None:
    """Each variable of the spool sets its field."""
    environ = {"SPANBACK_SPOOL": "s.db", "SPANBACK_SPOOL_LIMIT_BYTES": "5", "SPANBACK_SPOOL_FULL": " Drop_Oldest "}
    settings = _settings.from_environment(environ)
    assert (settings.spool, settings.spool_limit_bytes, settings.spool_full) == ("s.db", 5, "drop_oldest")
    settings = _settings.from_environment({"SPANBACK_SPOOL_FULL": "explode"})
    assert (settings.spool, settings.spool_limit_bytes, settings.spool_full) == (None, 268_435_456, "raise")
    way = _settings.from_environment({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"}).traces
    assert way.headers == "api-key=secret"
    assert "secret" not in repr(way)


def test_the_errors_travel_between_processes() -> None:
    """They can be pickled, as a process pool does."""
    import pickle

    for kind in (SpoolUnavailable, SpoolFull):
        error = pickle.loads(pickle.dumps(kind("/spool.db", "it is full")))
        assert (type(error), error.path, error.reason) == (kind, "/spool.db", "it is full")


def test_nothing_is_said_while_all_is_well(
    durable: Durable, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """No line above INFO comes of ordinary work."""
    durable(backend)
    spanback.record_feedback(fake_ref(), score=1.0)
    assert spanback.flush(30.0)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
