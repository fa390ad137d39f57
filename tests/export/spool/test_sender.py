"""The sending: what each answer of a backend does to the records, and when it is tried again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.sdk.trace import ReadableSpan

from spanback._settings import Way, from_environment
from spanback._telemetry import Unsent
from spanback.export._guard import Address
from spanback.export._spool import _post, _sender
from spanback.export._spool._database import Database
from spanback.export._spool._post import Answer, post_to
from spanback.export._spool._sender import Sender
from spanback.export._spool._store import Kind, Outbox, Record, Store
from spanback.export._spool._wire import encoded
from tests.backends.servers import eventually
from tests.export.backends import black_hole, free_port
from tests.export.spool.backend import Backend, Reply, over_http
from tests.export.telemetry import log, span

Make = Callable[..., Sender]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that a test can wait for."""
    monkeypatch.setattr(_sender, "LINGER_S", 0.0)
    monkeypatch.setattr(_sender, "FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(_sender, "BACKOFF_LIMIT_S", 0.05)


@pytest.fixture
def make(outbox: Outbox) -> Iterator[Make]:
    """Makes senders, which stop with the test."""
    made: list[Sender] = []

    def sender(way: Way | Backend, kind: Any = "traces", outbox: Outbox = outbox) -> Sender:
        if isinstance(way, Backend):
            way = http(way)
        one = Sender(kind, outbox, lambda: post_to(way, kind), Address("http://backend", "Advice."))
        one.start()
        made.append(one)
        return one

    yield sender
    for one in made:
        one.stop(5.0)


def http(backend: Backend, **changes: Any) -> Way:
    """The way to a backend over HTTP."""
    return Way(protocol="http/protobuf", endpoint=backend.url, **changes)


def spans(*ids: str, **choices: Any) -> list[Record]:
    """Records of spans with these feedback ids."""
    return encoded(Unsent(one, span(attributes={"feedback.id": one}), None) for one in ids)


def drained(sender: Sender) -> bool:
    """Whether all is sent within some seconds."""
    return sender.drain(time.monotonic() + 5.0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def dead(outbox: Outbox) -> list[tuple[str, str]]:
    """Id and reason of each dead letter."""
    with outbox._database.reading() as connection:
        return connection.execute("SELECT feedback_id, reason FROM dead").fetchall()


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_request_is_what_the_exporters_would_send(
    protocol: str, compression: str, request: pytest.FixtureRequest, make: Make, store: Store
) -> None:
    """Spans and logs of one resource and scope arrive together, byte for byte as the official encoder has them."""
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    backend = request.getfixturevalue("grpc_backend" if protocol == "grpc" else "backend")
    way = Way(protocol=protocol, compression=compression, endpoint=backend.url, headers="api-key=k,x=a%20b")
    items = [span("one", {"feedback.id": "1"}), span("two", {"feedback.id": "2", "text": "é" * 200})]
    records = [log({"feedback.id": "1"}), log({"feedback.id": "2"})]
    store.put(encoded(Unsent(str(n), items[n - 1], records[n - 1]) for n in (1, 2)))
    assert drained(make(way, "traces"))
    assert drained(make(way, "logs"))
    assert backend.requests == {"traces": [encode_spans(items)], "logs": [encode_logs(records)]}
    assert backend.headers[0]["api-key"] == "k"
    assert backend.headers[0]["x"] == "a b"
    if protocol != "grpc":
        assert backend.headers[0]["user-agent"].startswith("spanback/")
        assert backend.headers[0].get("content-encoding") == (None if compression == "none" else compression)


def test_resources_and_scopes_stay_apart(backend: Backend, make: Make, store: Store) -> None:
    """Records of several processes, with resources of their own, share a request and not a resource."""
    one, other = span(attributes={"feedback.id": "1"}), span(attributes={"feedback.id": "2"}, scope="other")
    foreign: Any = ReadableSpan(
        "f", other.get_span_context(), attributes={"feedback.id": "3"}, instrumentation_scope=one.instrumentation_scope
    )
    records = encoded([Unsent(str(n), item, None) for n, item in ((1, one), (2, other), (3, foreign), (4, one))])
    assert [record.feedback_id for record in records] == ["1", "2", "3", "4"]
    store.put(records)
    assert drained(make(backend))
    (message,) = backend.requests["traces"]
    assert [len(resource.scope_spans) for resource in message.resource_spans] == [1, 1, 1]
    assert sorted(backend.accepted["traces"]) == ["1", "1", "2", "3"]


def test_an_endpoint_of_the_signals_own_is_taken_as_it_is(backend: Backend, make: Make, store: Store) -> None:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT has the path in it; the common one gets it."""
    environ = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{backend.url}/own/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    store.put(spans("1"))
    assert drained(make(from_environment(environ).traces))
    assert backend.accepted["traces"] == ["1"]


def test_what_is_accepted_is_deleted_and_nothing_else(backend: Backend, make: Make, store: Store) -> None:
    """A record stays until the backend says that it has it, whatever else happens."""
    answers = iter([Reply(503), Reply(429), Reply(502), Reply(504), None])
    backend.answer = lambda _kind, _ids: next(answers)
    store.put(spans("1", "2"))
    make(backend)
    eventually(lambda: backend.accepted["traces"])
    assert all(ids[0] == "1" for _, ids in backend.asked[:5])
    eventually(lambda: backend.accepted["traces"] == ["1", "2"])


@pytest.mark.parametrize(("header", "least_s"), [("0.3", 0.3), ("tomorrow", 3_000), ("soon", 0.0), ("-5", 0.0)])
def test_retry_after_is_respected(
    header: str, least_s: float, backend: Backend, make: Make, store: Store, outbox: Outbox
) -> None:
    """Seconds or a date, at most an hour; not even a flush asks earlier. What is neither is passed over."""
    header = formatdate(time.time() + 86_400) if header == "tomorrow" else header
    backend.answer = lambda _kind, _ids: Reply(429, "slow down", {"Retry-After": header})
    store.put(spans("1"))
    sender = make(backend)
    assert not drained(sender)
    wait_s = (outbox.lane("traces", 0).next_ns or outbox.lane("traces", time.time_ns()).next_ns) / 1e9 - time.time()
    assert least_s - 0.2 < wait_s < min(least_s, 3_600) + 7_000
    asked = len(backend.asked)
    if least_s:
        assert not drained(sender)
        assert len(backend.asked) == asked
    assert outbox.lane("traces", time.time_ns()).reason == "HTTP 429 Too Many Requests: slow down"


@pytest.mark.parametrize("detailed", [False, True])
def test_grpc_says_when_to_come_again(
    detailed: bool, grpc_backend: Backend, make: Make, store: Store, outbox: Outbox
) -> None:
    """A RetryInfo is respected, alone or among the details of a status."""
    info = RetryInfo(retry_delay=Duration(seconds=100))
    packed = AnyMessage()
    packed.Pack(info)
    metadata = {"google.rpc.retryinfo-bin": info.SerializeToString()}
    if detailed:
        metadata = {"grpc-status-details-bin": Status(code=8, details=[AnyMessage(), packed]).SerializeToString()}
    grpc_backend.answer = lambda _kind, _ids: Reply(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", metadata)
    store.put(spans("1"))
    assert not drained(make(Way(endpoint=grpc_backend.url)))
    lane = outbox.lane("traces", time.time_ns())
    assert lane.reason == "RESOURCE_EXHAUSTED, full"
    assert 95 < lane.next_ns / 1e9 - time.time() < 101


@pytest.mark.parametrize(
    ("code", "metadata"),
    [
        (grpc.StatusCode.UNAVAILABLE, {}),
        (grpc.StatusCode.UNAVAILABLE, {"google.rpc.retryinfo-bin": b"\xff"}),
        (grpc.StatusCode.UNAUTHENTICATED, {"grpc-status-details-bin": Status(code=16).SerializeToString()}),
    ],
)
def test_grpc_troubles_are_waited_out(
    code: Any, metadata: Any, grpc_backend: Backend, make: Make, store: Store, outbox: Outbox
) -> None:
    """Nothing is deleted for a backend that is away or does not know us."""
    grpc_backend.answer = lambda _kind, _ids: Reply(code, "no", metadata)
    store.put(spans("1"))
    assert not drained(make(Way(endpoint=grpc_backend.url)))
    assert outbox.counts() == {"dead": 0, "traces": 1, "logs": 0}
    assert outbox.lane("traces", time.time_ns()).reason == f"{code.name}, no"


POISON = [f"{number:02}" for number in (5, 11, 12)]


@pytest.mark.parametrize(
    ("protocol", "reply", "reason"),
    [
        ("http", Reply(400, "bad id"), "HTTP 400 Bad Request: bad id"),
        ("http", Reply(422, "bad id", {"Content-Type": "text/plain"}), "HTTP 422 Unprocessable Entity: bad id"),
        ("http", Reply(413), "HTTP 413 Request Entity Too Large"),
        ("http", Reply(200, "bad id", rejected=1), "bad id"),
        ("grpc", Reply(grpc.StatusCode.INVALID_ARGUMENT, "bad id"), "INVALID_ARGUMENT, bad id"),
        ("grpc", Reply(200, "bad id", rejected=2), "bad id"),
        (
            "grpc",
            Reply(grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max (9 vs. 8)"),
            "RESOURCE_EXHAUSTED, message larger than max (9 vs. 8)",
        ),
    ],
)
def test_poison_is_found_and_put_aside(
    protocol: str, reply: Reply, reason: str, request: pytest.FixtureRequest, make: Make, store: Store, outbox: Outbox
) -> None:
    """A rejected request is sent in halves until the record at fault is alone; all others arrive."""
    backend = request.getfixturevalue("grpc_backend" if protocol == "grpc" else "backend")
    backend.answer = lambda _kind, ids: reply if set(ids) & set(POISON) else None
    everything = [f"{number:02}" for number in range(16)]
    store.put(spans(*everything))
    assert drained(make(http(backend) if protocol == "http" else Way(endpoint=backend.url)))
    assert sorted(set(backend.accepted["traces"])) == sorted(set(everything) - set(POISON))
    found = dead(outbox)
    assert [one for one, _ in found] == POISON
    older = {"Content Too Large": "Request Entity Too Large", "Unprocessable Content": "Unprocessable Entity"}
    told = {why for _, why in found}
    for newer, name in older.items():  # Python 3.13 has renamed them, as HTTP has
        told = {why.replace(newer, name) for why in told}
    assert told == {reason}


def test_a_warning_of_the_backend_is_no_rejection(backend: Backend, make: Make, store: Store, outbox: Outbox) -> None:
    """A message without rejected records, or an answer that is no OTLP, is a success."""
    replies = iter([Reply(200, "be careful"), Reply(200, "{}", {"Content-Type": "application/json"})])
    backend.answer = lambda _kind, _ids: next(replies)
    sender = make(backend)
    for one in ("1", "2"):
        store.put(spans(one))
        assert drained(sender)
    assert backend.accepted["traces"] == ["1", "2"]
    assert outbox.counts()["dead"] == 0


def test_a_backend_that_breaks_over_one_record_gets_the_others(
    backend: Backend, make: Make, store: Store, outbox: Outbox
) -> None:
    """HTTP 500 may be one record's doing: it is looked for with smaller requests and then put off, never given up."""
    backend.answer = lambda _kind, ids: Reply(500, "panic") if "3" in ids else None
    store.put(spans(*"12345"))
    sender = make(backend)
    eventually(lambda: drained(sender) or sorted(set(backend.accepted["traces"])) == ["1", "2", "4", "5"])
    assert outbox.counts() == {"dead": 0, "traces": 1, "logs": 0}


@pytest.mark.parametrize("status", [301, 401, 403, 404, 415])
def test_wrong_settings_are_no_fault_of_the_records(
    status: int, backend: Backend, make: Make, store: Store, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials or an address that are wrong keep the records and say so, once a minute."""
    backend.answer = lambda _kind, _ids: Reply(status)
    store.put(spans("1"))
    sender = make(backend)
    assert not drained(sender)
    assert not drained(sender)
    assert outbox.counts() == {"dead": 0, "traces": 1, "logs": 0}
    (line,) = said(caplog)
    assert line.startswith(f"No traces reach http://backend: HTTP {status} ")


def test_a_backend_without_logs_holds_nothing_up(
    backend: Backend, make: Make, store: Store, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Log records whose spans say the same are dropped, said once; those that are alone are kept."""
    backend.answer = lambda kind, _ids: Reply(404) if kind == "logs" else None
    with caplog.at_level(logging.INFO, "spanback.export"):
        sender = make(backend, "logs")
        for one in ("1", "2"):
            store.put(encoded([Unsent(one, span(attributes={"feedback.id": one}), log({"feedback.id": one}))]))
            assert drained(sender)
    assert backend.asked == [("logs", ["1"])], "it is not asked again for a while"
    assert outbox.counts() == {"dead": 0, "traces": 2, "logs": 0}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("http://backend takes no logs (HTTP 404 Not Found); the spans say the same.")
    store.put(encoded([Unsent("3", None, log({"feedback.id": "3"}))]))
    assert not drained(sender)
    assert outbox.counts()["logs"] == 1


def test_a_backend_that_is_not_there_yet_gets_everything_later(make: Make, store: Store) -> None:
    """Records wait for a backend to start."""
    port = free_port()
    store.put(spans("1"))
    sender = make(Way(protocol="http/protobuf", endpoint=f"http://127.0.0.1:{port}"))
    assert not drained(sender)
    with over_http(port) as backend:
        eventually(lambda: backend.accepted["traces"] == ["1"])


def test_a_backend_that_never_answers_times_out(make: Make, store: Store, outbox: Outbox) -> None:
    """A request ends at the timeout, and a flush at its own."""
    store.put(spans("1"))
    with black_hole() as url:
        sender = make(Way(protocol="http/protobuf", endpoint=url, timeout_s=0.2))
        assert not sender.drain(time.monotonic() + 0.05)
        assert not drained(sender)
        reason = outbox.lane("traces", time.time_ns()).reason
        assert reason is not None
        assert reason.startswith("ReadTimeout: ")
        sender.stop(5.0)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (Way(protocol="http/protobuf", endpoint="nonsense"), "MissingSchema: "),
        (
            Way(protocol="http/protobuf", endpoint="https://127.0.0.1:9", certificate="/no/such"),
            "Could not find a suit",
        ),
        (Way(endpoint="https://127.0.0.1:9", certificate="/no/such"), "[Errno 2] No such file"),
    ],
)
def test_settings_that_cannot_work_are_said(
    way: Way, reason: str, make: Make, store: Store, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An address or a certificate that is none leaves the records where they are."""
    store.put(spans("1"))
    assert not drained(make(way))
    found = outbox.lane("traces", time.time_ns()).reason
    assert found is not None
    assert found.startswith(reason)
    assert reason in said(caplog)[0]


def test_only_the_process_with_the_lease_sends(
    backend: Backend, make: Make, store: Store, outbox: Outbox, path: str
) -> None:
    """Two processes on one spool do not send the same; the second goes on when the first is done or dead."""
    other = Outbox(Database(path, 0, "NORMAL"), "other")
    store.put(spans("1"))
    assert other.claim("traces", time.time_ns())
    sender = make(backend)
    assert not sender.drain(time.monotonic() + 0.3)
    assert backend.asked == []
    other.settle("traces", 0, 0, None)
    assert drained(sender)
    assert backend.accepted["traces"] == ["1"]
    other.close()


def test_of_two_processes_that_want_the_lease_one_sends(backend: Backend, make: Make, store: Store, path: str) -> None:
    """A sender that finds the lane free and is beaten to it waits until the other one is done."""
    other = Outbox(Database(path, 0, "NORMAL"), "other")
    claims: list[bool] = []

    class Beaten(Outbox):
        def claim(self, kind: Kind, now_ns: int) -> bool:
            if not claims:
                assert other.claim(kind, now_ns)
            claims.append(super().claim(kind, now_ns))
            return claims[-1]

    beaten = Beaten(Database(path, 0, "NORMAL"), "beaten")
    store.put(spans("1"))
    sender = make(backend, outbox=beaten)
    assert not sender.drain(time.monotonic() + 0.3)
    assert claims == [False]
    assert backend.asked == []
    other.settle("traces", 0, 0, None)
    assert drained(sender)
    assert claims == [False, True]
    assert backend.accepted["traces"] == ["1"]
    sender.stop(5.0)
    beaten.close()
    other.close()


def test_a_lease_is_renewed_and_a_lost_one_ends_the_round(
    backend: Backend, make: Make, store: Store, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was too slow leaves the rest to the one that has taken over."""
    monkeypatch.setattr(_sender, "_RENEW_S", -1.0)
    monkeypatch.setattr(_sender, "_BATCH_RECORDS", 1)
    other = Outbox(Database(path, 0, "NORMAL"), "other")

    def take_over(_kind: str, _ids: list[str]) -> None:
        if len(backend.asked) == 2:
            taken = "UPDATE lanes SET owner = 'other', until_ns = ?"
            other._database.transaction(lambda connection: connection.execute(taken, (time.time_ns() + 10**10,)))

    backend.answer = take_over
    store.put(spans("1", "2", "3"))
    sender = make(backend)
    eventually(lambda: backend.accepted["traces"] == ["1", "2"])
    assert not sender.drain(time.monotonic() + 0.3)
    assert len(backend.asked) == 2
    other.settle("traces", 0, 0, None)
    assert drained(sender)
    other.close()


def test_what_another_process_has_left_is_found(
    backend: Backend, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle sender looks by itself from time to time."""
    monkeypatch.setattr(_sender, "IDLE_S", 0.02)
    sender = make(backend)
    assert drained(sender)
    store.put(spans("1"))
    eventually(lambda: backend.accepted["traces"] == ["1"])


def test_a_backend_without_logs_is_asked_again_later(
    backend: Backend, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal is not for ever, and not said twice; starting a sender that runs changes nothing."""
    monkeypatch.setattr(_sender, "_REFUSED_S", 0.0)
    backend.answer = lambda _kind, _ids: Reply(404)
    with caplog.at_level(logging.INFO, "spanback.export"):
        sender = make(backend, "logs")
        sender.start()
        for one in ("1", "2"):
            store.put(encoded([Unsent(one, span(attributes={"feedback.id": one}), log({"feedback.id": one}))]))
            assert drained(sender)
    assert backend.asked == [("logs", ["1"]), ("logs", ["2"])]
    assert len(caplog.records) == 1


def test_a_certificate_is_read(tmp_path: Path) -> None:
    """What gRPC trusts is in the file that the variable names."""
    (tmp_path / "ca.pem").write_bytes(b"certificate")
    assert _post._bytes_of(str(tmp_path / "ca.pem")) == b"certificate"


def test_threads_that_come_at_once_start_one_sender(make: Make, backend: Backend, monkeypatch: Any) -> None:
    """Two senders of one process would hold the same lease, and send everything twice."""
    both = threading.Barrier(2)
    started: list[threading.Thread] = []

    class Slow(threading.Thread):
        def __init__(self, **choices: Any) -> None:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.2)
            super().__init__(**choices)
            started.append(self)

    one = make(backend)
    one.stop(5.0)
    one.forget()
    coming = [threading.Thread(target=one.start) for _ in range(2)]
    monkeypatch.setattr(_sender.threading, "Thread", Slow)
    for thread in coming:
        thread.start()
    for thread in coming:
        thread.join(5.0)
    assert len(started) == 1


def test_a_sender_that_is_stopped_sends_no_more(backend: Backend, make: Make, store: Store, outbox: Outbox) -> None:
    """Stopping ends the round after the present request and closes the file; stopping twice is harmless."""
    sender = make(backend)
    store.put(spans("0"))
    assert drained(sender)
    assert outbox._database._connection is not None
    sender.stop(5.0)
    assert outbox._database._connection is None
    sender.stop(5.0)
    store.put(spans("1"))
    assert not drained(sender)
    assert outbox.counts()["traces"] == 1


def test_a_spool_that_cannot_be_read_is_said(
    backend: Backend, make: Make, store: Store, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender goes on looking when its file is damaged, and says so."""
    store.put(spans("1"))
    store.close()
    Path(path).write_bytes(b"no database" * 1_000)
    assert not drained(make(backend))
    assert said(caplog) == [f"No traces are sent from the spool {path}: SQLite says: file is not a database."]


def test_a_closed_channel_is_no_loss(grpc_backend: Backend) -> None:
    """A request over a connection that has been closed is one to try again."""
    post = post_to(Way(endpoint=grpc_backend.url), "traces")
    post.close()
    assert post.send(b"") == Answer("busy", "Cannot invoke RPC on closed channel!")


@pytest.mark.parametrize(
    "way",
    [
        Way(protocol="http/protobuf", certificate="ca.pem", client_certificate="c.pem", client_key="k.pem"),
        Way(protocol="http/protobuf", client_certificate="both.pem"),
        Way(endpoint="backend:4317", insecure=True),
        Way(endpoint="backend:4317"),
        Way(),
    ],
)
def test_certificates_and_addresses_of_all_forms_are_understood(way: Way) -> None:
    """What the variables can say makes a connection that is ready to be used."""
    post: Any = post_to(way, "logs")
    if way.protocol == "http/protobuf":
        assert post._url == "http://localhost:4318/v1/logs"
        assert post._verify == (way.certificate or True)
        assert post._session.cert == (("c.pem", "k.pem") if way.client_key else "both.pem")
    post.close()
