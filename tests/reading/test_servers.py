"""What servers may answer instead of what is asked for: each is told in a sentence, none is taken for an end."""

from __future__ import annotations

import gzip
import json
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from spanback import reading
from spanback.cli import main
from spanback.errors import SourceError
from spanback.reading import Call, Feedback
from spanback.reading._clickhouse import ClickHouse, in_process
from tests.reading.writing import call_span, carrier_span, log_event

WIRE = Path(__file__).parent / "wire" / "collector.jsonl"
TRACE_ID, SPAN_ID = "1" * 32, "2" * 16
CALL = Call(TRACE_ID, SPAN_ID, None, "chat", "chat", 1, 1, response_id="r-1", request_model="gpt-5")
RECENT_NS = time.time_ns() - 3_600_000_000_000
SIGNAL = Feedback("fb", RECENT_NS + 1, score=1.0, trace_id=TRACE_ID, span_id=SPAN_ID)

Answer = tuple[int, bytes]


class Scripted:
    """A server on this machine that answers paths as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, str]], Any]] = {}
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answers a path; 404 for one that is not in the script."""
                parts = urlsplit(self.path)
                params = {name: values[0] for name, values in parse_qs(parts.query).items()}
                scripted.asked.append((parts.path, params, {k.lower(): v for k, v in self.headers.items()}))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                find = scripted.answers.get(parts.path)
                answer = (404, b"nothing here") if find is None else find({**params, "body": body})
                status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", content.decode())
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815 - the server's own name

            def log_message(self, format: str, *arguments: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A server that knows no path yet."""
    scripted = Scripted()
    yield scripted
    scripted.server.shutdown()
    scripted.server.server_close()


def batch(*spans: Any) -> dict[str, Any]:
    """Spans as an API gives them."""
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, b"out of memory"), "answers 500: out of memory"),
        ((200, b"<html>"), "does not answer with JSON: "),
        ((200, b"[]"), "does not answer as Tempo does"),
        ((404, b""), "does not answer as Tempo does"),
        ((200, b'{"traces": [{"id": 1}]}'), "does not answer as Tempo does"),
    ],
)
def test_what_is_no_answer_of_tempo_is_told(server: Scripted, answer: Answer, told: str) -> None:
    """With the address, and the beginning of what came."""
    server.answers["/api/search"] = lambda _: answer
    with (
        reading.open(f"tempo+http://{server.address}", since_ns=RECENT_NS) as reader,
        pytest.raises(SourceError) as raised,
    ):
        list(reader.feedback())
    assert str(raised.value).startswith(f"http://{server.address}/api/search: {told}")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_an_answer_that_breaks_off_is_told(server: Scripted) -> None:
    """A part of an answer is none."""
    server.answers["/api/v3/services"] = lambda _: (200, b'{"services": ["a"')
    with (
        reading.open(f"jaeger+http://{server.address}") as reader,
        pytest.raises(SourceError, match=r"does not answer"),
    ):
        list(reader.calls())


@pytest.mark.parametrize("answer", [(200, b'{"data": []}'), (404, b"")])
def test_what_is_no_answer_of_jaeger_is_told(server: Scripted, answer: Answer) -> None:
    """The path is named."""
    server.answers["/api/v3/services"] = lambda _: answer
    with (
        reading.open(f"jaeger+http://{server.address}") as reader,
        pytest.raises(SourceError, match="/api/v3/services: does not answer as Jaeger 2 does"),
    ):
        reader.rated()


@pytest.mark.parametrize(
    "address",
    [
        "tempo+http://",
        "jaeger+https:///path",
        "clickhouse+http:nowhere",
        "jaeger+http://me:secret@[::1",
        "tempo+http://me:secret@localhost:99999",
        "clickhouse+https://me:secret@[::1/otel",
    ],
)
def test_what_is_no_address_is_told(address: str) -> None:
    """Before anything is asked."""
    with pytest.raises(SourceError, match=r"\Awhat is asked: is no http:// or https:// address\Z"):
        reading.open(address)


@pytest.mark.parametrize(
    "address", ["http://me:secret@localhost:16686", "jaeger:http://localhost", "tempo+localhost:1"]
)
def test_what_looks_like_an_address_says_how_one_begins(address: str) -> None:
    """Where there is no such file, which is what it would be otherwise."""
    with pytest.raises(SourceError, match=r"\Aan address: begins with jaeger\+http://"):
        reading.open([address])


def test_no_other_server_gets_the_password(server: Scripted) -> None:
    """A redirect is followed on the same server only."""
    server.answers["/elsewhere"] = lambda _: {"traces": []}
    address = f"tempo+http://me:secret@{server.address}"
    server.answers["/api/search"] = lambda _: (302, b"/elsewhere")
    with reading.open(address, since_ns=RECENT_NS) as reader:
        assert list(reader.feedback()) == []
    assert [(path, "authorization" in headers) for path, _, headers in server.asked] == [
        ("/api/search", True),
        ("/elsewhere", True),
    ]
    there = f"http://localhost:{server.server.server_port}/elsewhere"
    server.answers["/api/search"] = lambda _: (302, there.encode())
    with reading.open(address, since_ns=RECENT_NS) as reader, pytest.raises(SourceError, match="answers 302"):
        reader.feedback()
    assert server.asked[2:] == [server.asked[-1]]
    assert server.asked[-1][0] == "/api/search"


def test_a_question_after_a_failure_is_asked_anew(server: Scripted) -> None:
    """What was read before the failure is not taken for all there is."""
    server.answers["/api/search"] = lambda _: (503, b"busy")
    with reading.open(f"tempo+http://{server.address}") as reader:
        for ask in (reader.feedback, reader.rated, reader.rated, reader.summary):
            with pytest.raises(SourceError, match="answers 503: busy"):
                ask()
        server.answers["/api/search"] = lambda _: {"traces": []}
        assert list(reader.rated()) == []


def test_user_and_headers_are_sent_and_not_shown(server: Scripted) -> None:
    """By HTTP's own scheme to trace stores, by its own headers to ClickHouse."""
    server.answers["/api/search"] = lambda _: {"traces": []}
    with reading.open(f"tempo+http://me:s%40cret@{server.address}", headers={"X-Scope-OrgID": "team"}) as reader:
        assert list(reader.calls()) == []
        assert reader.where == f"http://{server.address}"
    headers = server.asked[-1][2]
    assert (headers["authorization"], headers["x-scope-orgid"]) == ("Basic bWU6c0BjcmV0", "team")
    server.answers["/"] = lambda _: (200, b"")
    with reading.open(f"clickhouse+http://me:s%40cret@{server.address}/otel") as reader:
        assert list(reader.feedback()) == []
        assert reader.where == f"http://{server.address}/otel"
    _, params, headers = server.asked[-1]
    assert (headers["x-clickhouse-user"], headers["x-clickhouse-key"]) == ("me", "s@cret")
    assert (params["database"], params["readonly"]) == ("otel", "2")


def test_a_damaged_trace_loses_nothing_else(server: Scripted) -> None:
    """It is noted with its address; the trace of a call that is gone leaves the signal without its call."""
    whole, odd = "a" * 32, "b" * 32
    server.answers["/api/search"] = lambda _: {"traces": [{"traceID": whole}, {"traceID": odd}, {"traceID": "c" * 32}]}
    server.answers[f"/api/v2/traces/{whole}"] = lambda _: {"trace": batch(carrier_span(SIGNAL))}
    server.answers[f"/api/v2/traces/{odd}"] = lambda _: {"trace": {"resourceSpans": 5}}
    with reading.open(f"tempo+http://{server.address}", since_ns=RECENT_NS) as reader:
        (rated,) = reader.rated()
        assert (rated.call, rated.feedback[0].feedback_id) == (None, "fb")
        (damaged,) = reader.damaged()
        assert str(damaged).startswith(f"http://{server.address}/api/v2/traces/{odd}: is no OTLP-JSON: TypeError")


def test_a_rated_call_older_than_the_search_is_fetched_by_its_trace(server: Scripted) -> None:
    """The trace that a signal names is asked for though no search finds it; what else is in it is passed over."""
    other = {**call_span(CALL), "spanId": "3" * 16}
    server.answers["/api/search"] = lambda _: {"traces": [{"traceID": "a" * 32}]}
    server.answers[f"/api/v2/traces/{'a' * 32}"] = lambda _: {"trace": batch(carrier_span(SIGNAL))}
    server.answers[f"/api/v2/traces/{TRACE_ID}"] = lambda _: {"trace": batch(other, call_span(CALL))}
    with reading.open(f"tempo+http://{server.address}", since_ns=RECENT_NS) as reader:
        (rated,) = reader.rated()
        assert rated.call == CALL
        assert [one.feedback_id for one in rated.feedback] == ["fb"]
    assert [path for path, _, _ in server.asked if TRACE_ID in path] == [f"/api/v2/traces/{TRACE_ID}"]


def test_a_signal_is_found_by_its_id_and_nothing_else_is_read(server: Scripted) -> None:
    """The record that was made last, also where it withdraws the signal; None for an id that is not there."""
    back = replace(SIGNAL, time_ns=SIGNAL.time_ns + 1, action="retract")
    server.answers["/api/search"] = lambda asked: {"traces": [{"traceID": TRACE_ID}] if '"fb"' in asked["q"] else []}
    spans = (call_span(CALL), carrier_span(back), carrier_span(SIGNAL))
    server.answers[f"/api/v2/traces/{TRACE_ID}"] = lambda _: {"trace": batch(*spans)}
    with reading.open(f"tempo+http://{server.address}", since_ns=RECENT_NS) as reader:
        found = reader.find("fb")
        assert found is not None
        assert (found.action, found.feedback_id) == ("retract", "fb")
        assert reader.find("fb-none") is None


def test_a_signal_that_knows_only_a_responses_id_finds_its_call(server: Scripted) -> None:
    """By a search of its own; a span that is neither a call nor feedback is passed over."""
    unresolved = replace(SIGNAL, trace_id=None, span_id=None, dimensions={"gen_ai.response.id": "r-1"})
    other = {**call_span(CALL), "attributes": []}
    carriers, calls = "a" * 32, TRACE_ID
    by_query = {"feedback.id": carriers, '"r-1"': calls}

    def search(asked: dict[str, str]) -> Any:
        return {"traces": [{"traceID": one} for text, one in by_query.items() if text in asked["q"]]}

    server.answers["/api/search"] = search
    server.answers[f"/api/v2/traces/{carriers}"] = lambda _: {"trace": batch(other, carrier_span(unresolved))}
    server.answers[f"/api/v2/traces/{calls}"] = lambda _: {"trace": batch(other, call_span(CALL))}
    with reading.open(f"tempo+http://{server.address}", since_ns=RECENT_NS) as reader:
        (rated,) = reader.rated()
        assert (rated.call, rated.feedback[0].feedback_id) == (CALL, "fb")
        assert rated.feedback[0].span_id is None


def test_an_answer_of_clickhouse_that_breaks_off_is_told(server: Scripted) -> None:
    """In the server's words."""
    server.answers["/"] = lambda _: (200, b"Code: 241. DB::Exception: Memory limit exceeded\n")
    with (
        reading.open(f"clickhouse+http://{server.address}") as reader,
        pytest.raises(SourceError, match="breaks off: Code: 241"),
    ):
        list(reader.calls())


def test_a_call_without_operation_is_none(server: Scripted) -> None:
    """Other spans of a trace are passed over, and progress is told in traces."""
    told: list[tuple[int, int]] = []
    other = {**call_span(CALL), "attributes": []}
    server.answers["/api/search"] = lambda _: {"traces": [{"traceID": TRACE_ID}]}
    server.answers[f"/api/v2/traces/{TRACE_ID}"] = lambda _: {"trace": batch(other, call_span(CALL))}
    with reading.open(
        f"tempo+http://{server.address}", since_ns=RECENT_NS, progress=lambda *counts: told.append(counts)
    ) as reader:
        assert list(reader.calls()) == [CALL]
    assert told == [(1, 1)]


def test_one_second_with_more_than_the_limit_is_asked_for_more(server: Scripted) -> None:
    """Until all of it comes."""
    trace_ids = [f"{number:032x}" for number in range(1, 2_501)]
    asked: list[tuple[int, int]] = []

    def search(params: dict[str, str]) -> Any:
        limit = int(params["limit"])
        asked.append((int(params["end"]) - int(params["start"]), limit))
        return {"traces": [{"traceID": trace_id} for trace_id in trace_ids[:limit]]}

    server.answers["/api/search"] = search
    from spanback.reading._tempo import Tempo

    with reading.open(f"tempo+http://{server.address}") as reader:
        assert isinstance(reader, Tempo)
        (found,) = reader._windows("{}", 10**18, 10**18 + 10**9)
        assert len(found) == 2_500
        assert asked == [(1, 1_000), (1, 4_000)]


def test_jaeger_parts_traces_that_come_together(server: Scripted) -> None:
    """A call whose feedback is in the same answer is not asked for again; no answer is no trace."""
    far = {**carrier_span(SIGNAL), "traceId": "9" * 32}
    server.answers["/api/v3/services"] = lambda _: {"services": ["s"]}
    server.answers["/api/v3/operations"] = lambda _: {"operations": [{"name": "feedback stars"}, {"name": "chat"}]}
    server.answers["/api/v3/traces"] = lambda _: {"result": batch(far, {**call_span(CALL), "traceId": TRACE_ID})}
    server.answers[f"/api/v3/traces/{TRACE_ID}"] = lambda _: {"result": batch(call_span(CALL))}
    with reading.open(f"jaeger+http://{server.address}", since_ns=RECENT_NS) as reader:
        (rated,) = reader.rated()
        assert rated.call == CALL
    server.answers["/api/v3/traces"] = lambda _: (404, b"No traces found")
    with reading.open(f"jaeger+http://{server.address}", since_ns=RECENT_NS) as reader:
        assert list(reader.calls()) == []


def _rows(*records: Any, name: str) -> bytes:
    return b"".join(json.dumps({"service_name": name, **record}).encode() + b"\n" for record in records)


def test_clickhouse_reads_old_spellings_and_passes_odd_rows_over(server: Scripted) -> None:
    """`STATUS_CODE_ERROR` is an error, a list that is none stays text, and a row that is no span is noted."""
    span = {
        "start": "1000",
        "duration": "5",
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_span_id": "",
        "name": "chat",
        "status": "STATUS_CODE_ERROR",
        "attributes": {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": "stop"},
        "events": [],
        "link_trace_ids": [],
        "link_span_ids": [],
        "link_attributes": [],
    }
    server.answers["/"] = lambda _: (200, _rows(span, {**span, "start": "soon"}, {**span, "attributes": {}}, name="s"))
    with reading.open(f"clickhouse+http://{server.address}") as reader:
        (call,) = reader.calls()
        assert (call.error_type, call.finish_reasons, call.service_name) == ("_OTHER", ("stop",), "s")
        (damaged,) = reader.damaged()
        assert damaged.path == f"http://{server.address}"


def test_clickhouse_reads_log_events_and_their_content(server: Scripted) -> None:
    """Feedback as log events alone, by its response's id, and content that is on a call's log event."""
    attributes = {one["key"]: str(next(iter(one["value"].values()))) for one in log_event(SIGNAL)["attributes"]}
    texts = {"gen_ai.response.id": "r-1", **attributes}
    event = {"start": str(RECENT_NS), "trace_id": "", "span_id": "", "attributes": texts}
    content = {"gen_ai.input.messages": '[{"role": "user", "parts": []}]'}
    log = {"start": "2", "trace_id": TRACE_ID, "span_id": SPAN_ID, "attributes": content}
    call = {
        "start": "1",
        "duration": "1",
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_span_id": "",
        "name": "chat",
        "status": "Unset",
        "attributes": {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r-1"},
        "events": [{"gen_ai.output.messages": "[]"}],
        "link_trace_ids": [],
        "link_span_ids": [],
        "link_attributes": [],
    }

    def answer(asked: dict[str, str]) -> Answer:
        sql = asked["body"]
        if "system.tables" in sql:
            return 200, b'{"name": "otel_logs"}\n'
        if "FROM otel_logs" in sql.partition("WHERE")[0]:
            return 200, _rows(event if "feedback.id" in sql else log, name="")
        return 200, b"" if "mapContains(SpanAttributes, 'feedback.id')" in sql.partition("AND")[0] else _rows(
            call, name=""
        )

    server.answers["/"] = answer
    told: list[tuple[int, int]] = []
    with reading.open(f"clickhouse+http://{server.address}", since_ns=1, progress=lambda *n: told.append(n)) as reader:
        assert isinstance(reader, ClickHouse)
        reader._done = 9_999
        (rated,) = reader.rated()
        assert rated.call is not None
        assert (rated.call.response_id, rated.feedback[0].feedback_id) == ("r-1", "fb")
        assert rated.call.output_messages == []
    assert told == [(10_000, 10_000)]


def test_chdb_is_clickhouse_in_this_process(tmp_path: Path, run_without: Callable[..., str]) -> None:
    """By the folder of its data; without its package, that is named."""
    code = """
import sys
from chdb.session import Session
from spanback import reading
session = Session(sys.argv[1])
session.query("CREATE TABLE otel_traces (Timestamp DateTime64(9), ServiceName String, TraceId String, SpanId String, "
    "ParentSpanId String, SpanName String, Duration UInt64, StatusCode String, SpanAttributes Map(String, String), "
    "Events Nested (Attributes Map(String, String)), Links Nested (TraceId String, SpanId String, "
    "Attributes Map(String, String))) ENGINE = MergeTree ORDER BY Timestamp")
session.query("INSERT INTO otel_traces (Timestamp, SpanAttributes) VALUES ('2026-01-01', {'feedback.id': 'fb-1'})")
session.close()
with reading.open("chdb:" + sys.argv[1]) as reader:
    print([one.feedback[0].feedback_id for one in reader.rated()], reader.where == "chdb:" + sys.argv[1])
    try:
        list(reader.sql("SELECT nonsense FROM feedback"))
    except OSError as error:
        print("nonsense" in str(error))
"""
    assert run_without("no_such_package", code, str(tmp_path / "data")).splitlines() == ["['fb-1'] True", "True"]
    code = """
from spanback import reading
try:
    reading.open("chdb:x")
except OSError as error:
    print(error)
"""
    assert run_without("chdb", code).splitlines() == ["chdb: is not installed: pip install chdb"]


class _ChdbError(Exception):
    """As the wrapper's module has it: not what its engine raises."""


@pytest.mark.parametrize("error", [_ChdbError, RuntimeError])
@pytest.mark.parametrize("while_reading", [False, True])
def test_whatever_chdb_raises_is_told(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], *, while_reading: bool
) -> None:
    """In the engine's words, by the exception of its own or of its wrapper, at once or after a row."""

    class Rows:
        def bytes(self) -> bytes:
            return b'{"n": 1}\n{"n": 2}\n'

    class Session:
        def send_query(self, query: str, form: str) -> Iterator[Rows]:
            assert (query, form) == ("SELECT n", "JSONEachRow")
            if not while_reading:
                raise error("Code: 47")
            return self.pieces()

        def pieces(self) -> Iterator[Rows]:
            yield Rows()
            raise error("Code: 47")

    monkeypatch.setitem(sys.modules, "chdb", cast("ModuleType", SimpleNamespace(ChdbError=_ChdbError)))
    seen: list[Any] = []
    with (
        ClickHouse(in_process(Session()), "chdb:data") as reader,
        pytest.raises(SourceError, match=r"^chdb: Code: 47$"),
    ):
        seen.extend(row["n"] for row in reader.query("SELECT n"))
    assert seen == ([1, 2] if while_reading else [])


def test_read_gives_rated_calls_of_any_source(tmp_path: Path) -> None:
    """A path, several, or an address, read and closed."""
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(WIRE.read_bytes()))
    rated = list(reading.read(WIRE, name="user_thumbs", negative=True))
    assert [one.feedback[0].feedback_id for one in rated] == ["fb-down", "fb-changed"]
    assert list(reading.read([WIRE, tmp_path], name="user_thumbs", negative=True)) == rated
    assert list(reading.read(str(WIRE), since_ns=2**62)) == []


def test_show_asks_addresses_too(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """One at a time; a server that does not answer is a failure."""
    server.answers["/api/search"] = lambda _: {"traces": []}
    assert main(["show", f"tempo+http://{server.address}", "--since", "1h"]) == 0
    assert capsys.readouterr().err == f"No such feedback in http://{server.address}.\n"
    assert main(["show", "tempo+http://127.0.0.1:1", str(WIRE)]) == 1
    assert capsys.readouterr().err.startswith("tempo+http://127.0.0.1:1: stands alone")
    assert main(["show", "jaeger+http://127.0.0.1:1", "--json"]) == 1
    assert capsys.readouterr().err.startswith("http://127.0.0.1:1/api/v3/services: does not answer: ")
