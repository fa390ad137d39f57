"""What `TelemetryFiles` reads: joins, de-duplication, replacement, filters, and what it does with damage."""

import gzip
import io
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spanback.reading import Call, DamagedLine, Feedback, ModelSummary, TelemetryFiles
from spanback.reading import _lines as lines_module
from tests.reading.writing import (
    CARRIER_SPAN_ID,
    CARRIER_TRACE_ID,
    attributes,
    call_span,
    carrier_span,
    log_event,
    logs_line,
    spans_line,
)

WIRE = Path(__file__).parent / "wire" / "collector.jsonl"

CALL = Call(
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_span_id=None,
    name="chat gpt-5",
    operation="chat",
    start_time_ns=1_000,
    duration_ns=500,
    request_model="gpt-5",
)
SIGNAL = Feedback(
    "fb-1",
    2_000,
    trace_id=CALL.trace_id,
    span_id=CALL.span_id,
    score=1.0,
    carrier_trace_id=CARRIER_TRACE_ID,
    carrier_span_id=CARRIER_SPAN_ID,
)


def _write(folder: Path, *lines: str, name: str = "telemetry.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(lines))
    return file


def _read(*paths: Path | str, **where: Any) -> list[tuple[str | None, list[str]]]:
    """Span id and signal ids of each rated call."""
    with TelemetryFiles(paths) as files:
        return [
            (rated.call and rated.call.span_id, [signal.feedback_id for signal in rated.feedback])
            for rated in files.rated(**where)
        ]


def _damage(*paths: Path | str) -> list[DamagedLine]:
    with TelemetryFiles(paths) as files:
        list(files.rated())
        assert files.damaged_count() == len(list(files.damaged()))
        return list(files.damaged())


def test_the_collectors_file_gives_rated_calls_by_start_and_absent_ones_last() -> None:
    """Signals join their calls by link, log context or response id; the rest stand alone at the end."""
    assert _read(WIRE) == [
        ("b7ad6b7169203331", ["fb-down", "fb-fix"]),
        ("eee19b7ec3c1b174", ["fb-stars", "fb-judge"]),
        ("00f067aa0ba902b7", ["fb-changed"]),
        (None, ["fb-gone"]),
    ]


def test_a_call_has_every_field_of_its_span() -> None:
    """Integers may be strings, and content may be structured or a JSON string."""
    with TelemetryFiles([WIRE]) as files:
        calls = list(files.calls())
    assert [call.span_id for call in calls] == ["b7ad6b7169203331", "eee19b7ec3c1b174", "00f067aa0ba902b7"]
    assert calls[0] == Call(
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        parent_span_id="a1b2c3d4e5f60718",
        name="chat gpt-5-mini",
        operation="chat",
        start_time_ns=1_763_712_000_123_456_789,
        duration_ns=512_000_000,
        provider="openai",
        request_model="gpt-5-mini",
        response_model="gpt-5-mini-2025-08-07",
        response_id="chatcmpl-1",
        input_tokens=12,
        output_tokens=34,
        finish_reasons=("stop",),
        service_name="shop-bot",
        prompt_name="geography",
        prompt_version="3",
        conversation_id="conv-7",
        input_messages=[{"role": "user", "parts": [{"type": "text", "content": "What is the capital of Australia?"}]}],
        output_messages=[
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "The capital of Australia is Sydney."}],
                "finish_reason": "stop",
            }
        ],
    )


def test_a_signal_has_every_field_of_its_carrier() -> None:
    """Improvement is parsed JSON, metadata keeps its types, the target comes from the link."""
    with TelemetryFiles([WIRE]) as files:
        signals = {signal.feedback_id: signal for signal in files.feedback()}
    assert list(signals) == ["fb-down", "fb-fix", "fb-stars", "fb-gone", "fb-changed", "fb-judge"]
    assert signals["fb-fix"] == Feedback(
        feedback_id="fb-fix",
        time_ns=1_763_712_045_000_000_000,
        name="correction",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        improvement={"answer": "Canberra"},
        metadata={"page": "/atlas", "attempt": 2},
        user_hash="9f86d081",
        sampled=True,
        dimensions={
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.model": "gpt-5-mini-2025-08-07",
            "gen_ai.prompt.version": "3",
        },
        service_name="shop-bot",
        carrier_trace_id="feed0000000000000000000000000002",
        carrier_span_id="feed000000000002",
    )
    assert signals["fb-judge"].resolved is False
    assert (signals["fb-stars"].score_raw, signals["fb-stars"].score_min, signals["fb-stars"].score_max) == (4, 1, 5)


def test_the_summary_counts_calls_and_signals_by_model() -> None:
    """Signals without a score count, but not in the means."""
    with TelemetryFiles([WIRE]) as files:
        assert files.summary() == [
            ModelSummary("claude-opus", "explicit", 1, 2, 0, 0.25, pytest.approx(0.4 / 1.5)),
            ModelSummary("gpt-5", "implicit", 1, 1, 0, 0.4, pytest.approx(0.4)),
            ModelSummary("gpt-5-mini", "explicit", 1, 1, 1, -1.0, -1.0),
            ModelSummary("gpt-5-mini-2025-08-07", "explicit", 1, 2, 1, -1.0, -1.0),
        ]
        assert [row.model for row in files.summary(name="stars")] == ["claude-opus"]
        assert [(row.model, row.signals) for row in files.summary(negative=True)] == [
            ("gpt-5-mini", 1),
            ("gpt-5-mini-2025-08-07", 2),
        ]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"negative": True}, [["fb-down", "fb-fix"], ["fb-changed"]]),
        ({"name": "correction"}, [["fb-fix"]]),
        ({"name": "correction", "negative": True}, []),
        ({"since_ns": 1_763_712_120_000_000_000}, [["fb-judge"], ["fb-changed"]]),
        ({"limit": 1}, [["fb-gone"]]),
        ({"limit": 2}, [["fb-changed"], ["fb-gone"]]),
    ],
)
def test_filters_choose_signals_and_the_limit_keeps_the_latest_calls(where: Any, found: list[list[str]]) -> None:
    """`name` and `since_ns` choose signals, `negative` and `limit` choose calls among what remains."""
    assert [signals for _, signals in _read(WIRE, **where)] == found


def test_since_counts_from_when_a_signal_was_given(tmp_path: Path) -> None:
    """A back-dated signal belongs to the time that it says, not to when it was recorded."""
    signal = replace(SIGNAL, time_ns=10**18, observed_at="1970-01-01T00:00:05Z")
    file = _write(tmp_path, spans_line(carrier_span(signal)))
    with TelemetryFiles([file]) as files:
        assert list(files.feedback(since_ns=5 * 10**9)) == [signal]
        assert list(files.feedback(since_ns=5 * 10**9 + 1)) == []


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("form", [carrier_span, log_event])
def test_the_later_record_of_an_id_stands_whatever_the_order(tmp_path: Path, form: Any, reverse: bool) -> None:
    """The same id again replaces, also when the later record is read first."""
    changed = replace(SIGNAL, time_ns=SIGNAL.time_ns + 1, score=-1.0, comment="on second thought")
    write = spans_line if form is carrier_span else logs_line
    lines = [write(form(SIGNAL)), write(form(changed))]
    with TelemetryFiles([_write(tmp_path, *(reversed(lines) if reverse else lines))]) as files:
        own = {} if form is carrier_span else {"carrier_trace_id": None, "carrier_span_id": None}
        assert list(files.feedback()) == [replace(changed, **own)]


@pytest.mark.parametrize("reverse", [False, True])
def test_at_the_same_time_a_withdrawal_goes_before(tmp_path: Path, reverse: bool) -> None:
    """Whatever the order of reading, also by SQL."""
    lines = [spans_line(carrier_span(SIGNAL)), spans_line(carrier_span(replace(SIGNAL, action="retract", score=None)))]
    with TelemetryFiles([_write(tmp_path, *(reversed(lines) if reverse else lines))]) as files:
        assert list(files.feedback()) == []
        assert list(files.sql("SELECT count(*) AS n FROM feedback")) == [{"n": 0}]


def test_a_withdrawn_signal_is_gone_until_it_is_set_again(tmp_path: Path) -> None:
    """`retract` hides the signal, and a later `set` brings it back."""
    back = replace(SIGNAL, time_ns=SIGNAL.time_ns + 1, action="retract", score=None)
    again = replace(SIGNAL, time_ns=SIGNAL.time_ns + 2)
    file = _write(tmp_path, spans_line(call_span(CALL), carrier_span(SIGNAL), carrier_span(back)))
    assert _read(file) == []
    with file.open("a") as more:
        more.write(spans_line(carrier_span(again)))
    assert _read(file) == [(CALL.span_id, ["fb-1"])]


def test_the_link_counts_and_not_the_parent_or_the_attributes(tmp_path: Path) -> None:
    """The link with the relation `rates` goes before other links, and a link before the attributes."""
    carrier = carrier_span(SIGNAL) | {"parentSpanId": "1" * 16}
    carrier["links"].insert(0, {"traceId": "2" * 32, "spanId": "2" * 16})
    carrier["attributes"] += attributes({"feedback.target.trace_id": "3" * 32, "feedback.target.span_id": "3" * 16})
    plain = carrier_span(replace(SIGNAL, feedback_id="fb-2"))
    plain["links"] = [{"traceId": "4" * 32, "spanId": "4" * 16}]
    bare = carrier_span(replace(SIGNAL, feedback_id="fb-3"))
    bare["links"] = []
    bare["attributes"] += attributes({"feedback.target.trace_id": "5" * 32, "feedback.target.span_id": "5" * 16})
    with TelemetryFiles([_write(tmp_path, spans_line(carrier, plain, bare))]) as files:
        targets = [(signal.trace_id, signal.span_id) for signal in files.feedback()]
    assert targets == [(CALL.trace_id, CALL.span_id), ("4" * 32, "4" * 16), ("5" * 32, "5" * 16)]


def test_a_log_event_with_the_conventions_names_alone_is_enough(tmp_path: Path) -> None:
    """Name, score, label and comment may stand under `gen_ai.evaluation.` only."""
    record = {
        "observedTimeUnixNano": 7,
        "traceId": CALL.trace_id,
        "spanId": CALL.span_id,
        "attributes": attributes(
            {
                "feedback.id": "fb-9",
                "gen_ai.evaluation.name": "tone",
                "gen_ai.evaluation.score.value": 0.5,
                "gen_ai.evaluation.score.label": "kind",
                "gen_ai.evaluation.explanation": "said thanks",
            }
        ),
    }
    expected = Feedback(
        "fb-9",
        7,
        name="tone",
        score=0.5,
        label="kind",
        comment="said thanks",
        trace_id=CALL.trace_id,
        span_id=CALL.span_id,
    )
    with TelemetryFiles([_write(tmp_path, logs_line(record))]) as files:
        assert list(files.feedback()) == [expected]


def test_signals_without_a_span_stand_by_conversation_or_alone(tmp_path: Path) -> None:
    """A conversation's signals stand together; a signal that knows nothing stands for itself."""
    nowhere = Feedback("a", 1, score=1.0, resolved=False)
    talk = {"gen_ai.conversation.id": "c-1"}
    signals = [
        nowhere,
        replace(nowhere, feedback_id="b", dimensions=talk),
        replace(nowhere, feedback_id="c", dimensions=talk),
        replace(nowhere, feedback_id="d", dimensions={"gen_ai.response.id": "r-1"}),
    ]
    file = _write(tmp_path, spans_line(*map(carrier_span, signals), call_span(replace(CALL, response_id="r-2"))))
    assert sorted(_read(file)) == [(None, ["a"]), (None, ["b", "c"]), (None, ["d"])]


def test_content_of_log_events_and_span_events_joins_the_call(tmp_path: Path) -> None:
    """Content captured on an event fills what the span itself does not hold."""
    other = replace(CALL, span_id="a" * 16)
    on_event = {"gen_ai.input.messages": [{"role": "user"}], "gen_ai.output.messages": '[{"role":"assistant"}]'}
    details = {"traceId": CALL.trace_id, "spanId": CALL.span_id, "attributes": attributes(on_event)}
    lost = details | {"spanId": "e" * 16}
    with_event = call_span(other) | {"events": [{"name": "details", "attributes": attributes(on_event)}, {"name": "x"}]}
    carriers = [carrier_span(SIGNAL), carrier_span(replace(SIGNAL, feedback_id="fb-2", span_id=other.span_id))]
    plain = {"attributes": attributes({"gen_ai.operation.name": "chat"})}
    file = _write(
        tmp_path, logs_line(details, lost, plain), spans_line(call_span(CALL), with_event), spans_line(*carriers)
    )
    with TelemetryFiles([file]) as files:
        calls = [rated.call for rated in files.rated()]
    content = {"input_messages": [{"role": "user"}], "output_messages": [{"role": "assistant"}]}
    assert calls == [replace(other, **content), replace(CALL, **content)]


@pytest.mark.parametrize(
    ("name", "fold"),
    [
        ("traces.jsonl", bytes),
        ("traces.json", bytes),
        ("traces.json.gz", gzip.compress),
        ("traces.jsonl", gzip.compress),
        ("traces.ndjson", bytes),
        ("traces-2026-11-21T07-24-00.123.json", bytes),
        ("otel-2026-11-21T07-24-00.123", bytes),
        ("traces.jsonl.1", bytes),
        ("traces.json.2.gz", gzip.compress),
        ("two-members.json.gz", lambda text: gzip.compress(text[:10]) + gzip.compress(text[10:])),
    ],
)
def test_a_folder_stands_for_the_telemetry_in_it(tmp_path: Path, name: str, fold: Any) -> None:
    """Files count by their names, gzip is recognised by content, folders within and other files are left alone."""
    text = spans_line(call_span(CALL), carrier_span(SIGNAL)).encode()
    (tmp_path / name).write_bytes(fold(text))
    (tmp_path / "notes.txt").write_text("no telemetry")
    (tmp_path / "inner.json").mkdir()
    assert _read(tmp_path) == [(CALL.span_id, ["fb-1"])]
    with TelemetryFiles([tmp_path]) as files:
        assert files.file_count == 1
        assert list(files.damaged()) == []


def test_standard_input_is_read_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path `-` stands for standard input, whose copy on disk is removed in the end."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WIRE.read_bytes())))
    files = TelemetryFiles(["-"])
    copy = Path(files._sources[0].path)
    assert len(list(files.rated())) == 4
    assert copy.exists()
    files.close()
    assert not copy.exists()


def test_a_pipe_is_read_as_often_as_needed(tmp_path: Path) -> None:
    """A path that is no regular file, as a shell's `<(...)`, is copied first."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(WIRE.read_bytes(),))
    writer.start()
    assert len(_read(pipe)) == 4
    writer.join()


def test_a_missing_path_is_said_at_once(tmp_path: Path) -> None:
    """Nothing is read when one of the paths does not exist."""
    with pytest.raises(FileNotFoundError):
        TelemetryFiles([WIRE, tmp_path / "missing.jsonl"])


def test_damaged_lines_are_told_once_and_stop_nothing(tmp_path: Path) -> None:
    """Garbage, foreign JSON and a cut-off end are named by file and line; the rest is read."""
    good = spans_line(call_span(CALL), carrier_span(SIGNAL))
    file = _write(
        tmp_path,
        "\ufeff  " + good,
        "\n",
        "garbage\n",
        '{"feedback.id": "foreign"}\n',
        '{"feedback.id": }\n',
        '{"resourceSpans": "gen_ai."}\n',
        '{"resourceSpans":[{"scopeSpans":[{"spans":"feedback.id"}]}]}\n',
        spans_line({"attributes": "feedback.id"}),
        good[:200],
    )
    assert _read(file) == [(CALL.span_id, ["fb-1"])]
    damaged = _damage(file)
    assert [(line.path, line.line) for line in damaged] == [(str(file), number) for number in (3, 4, 5, 6, 7, 8, 9)]
    assert damaged[0].reason == "is no JSON object"
    assert damaged[1].reason == (
        "is no OTLP-JSON: ValueError: it holds none of resourceSpans, resourceLogs, resourceMetrics"
    )
    assert damaged[2].reason.startswith("is no OTLP-JSON: JSONDecodeError: ")
    assert damaged[6].reason == "is cut off; perhaps it is still being written"
    assert str(damaged[0]) == f"{file}:3: is no JSON object"


@pytest.mark.parametrize(
    "change",
    [
        {"startTimeUnixNano": "yesterday"},
        {"startTimeUnixNano": "-1"},
        {"startTimeUnixNano": str(2**63)},
        {"traceId": "0af7"},
        {"traceId": "not base64!"},
        {"spanId": ""},
        {"attributes": [{"key": "gen_ai.operation.name"}]},
        {"attributes": [{"value": "gen_ai."}]},
        {"attributes": [*attributes({"gen_ai.operation.name": "chat"}), {"key": "n", "value": {"intValue": "many"}}]},
        {"attributes": [*attributes({"gen_ai.operation.name": "chat"}), {"key": "n", "value": {"arrayValue": 1}}]},
    ],
)
def test_a_span_that_is_no_otlp_spoils_only_itself(tmp_path: Path, change: dict[str, Any]) -> None:
    """The other records of the line are read, and the line is named."""
    file = _write(tmp_path, spans_line(call_span(CALL) | change, call_span(CALL)))
    with TelemetryFiles([file]) as files:
        assert list(files.calls()) == [CALL]
        assert [line.line for line in files.damaged()] == [1]


def test_a_signal_that_is_no_otlp_spoils_only_itself(tmp_path: Path) -> None:
    """A carrier with a broken link is named; the signal beside it is read."""
    broken = carrier_span(replace(SIGNAL, feedback_id="broken")) | {"links": [{"traceId": "x", "spanId": "y"}]}
    file = _write(tmp_path, spans_line(broken, carrier_span(SIGNAL)), spans_line(call_span(CALL)))
    assert _read(file) == [(CALL.span_id, ["fb-1"])]
    assert [line.line for line in _damage(file)] == [1]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"\x28\xb5\x2f\xfdxxxx", 0, "is compressed with zstd, which is not read: unpack it first (zstd -d)"),
        (
            b"\0\0\1\0\x28\xb5\x2f\xfd",
            0,
            "holds length-prefixed messages, not lines: set `format: json` and no `compression`",
        ),
        (gzip.compress(spans_line(call_span(CALL)).encode())[:-9], 2, "Compressed file ended before"),
        (b"\x1f\x8b\x08 broken header", 0, "Error -3 while decompressing data"),
    ],
)
def test_a_file_of_another_form_is_told_and_stops_nothing(
    tmp_path: Path, content: bytes, line: int, reason: str
) -> None:
    """Other files are still read."""
    odd = tmp_path / "odd.json"
    odd.write_bytes(content)
    assert len(_read(odd, WIRE)) == 4
    (damaged,) = _damage(odd, WIRE)
    assert (damaged.path, damaged.line) == (str(odd), line)
    assert damaged.reason.startswith(reason)


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    """A file that was rotated away between listing and reading stops nothing."""
    file = _write(tmp_path, spans_line(call_span(CALL)))
    with TelemetryFiles([file, WIRE]) as files:
        file.unlink()
        assert len(list(files.rated())) == 4
        assert [str(line) for line in files.damaged()] == [f"{file}: [Errno 2] No such file or directory: '{file}'"]


def test_a_line_beyond_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without line ends cannot fill the memory; the line after it is read."""
    good = spans_line(call_span(CALL), carrier_span(SIGNAL))
    monkeypatch.setattr(lines_module, "LINE_LIMIT_BYTES", len(good))
    file = _write(tmp_path, "x" * 5 * len(good) + "\n", good, "y" * 2 * len(good))
    assert _read(file) == [(CALL.span_id, ["fb-1"])]
    reason = f"is longer than {len(good)} bytes"
    assert _damage(file) == [DamagedLine(str(file), 1, reason), DamagedLine(str(file), 3, reason)]


def test_a_line_of_64_mb_is_read(tmp_path: Path) -> None:
    """A span with 64 MB of content in one line is a call as any other."""
    text = "a" * 64 * 1024 * 1024
    big = replace(CALL, input_messages=[{"role": "user", "parts": [{"type": "text", "content": text}]}])
    file = _write(tmp_path, spans_line(call_span(big)), spans_line(carrier_span(SIGNAL)))
    with TelemetryFiles([file]) as files:
        (rated,) = files.rated()
        assert rated.call == big


def test_ids_in_base64_are_understood(tmp_path: Path) -> None:
    """Plain protobuf JSON writes bytes as base64; both forms of an id are one id, in lower case."""
    span = call_span(CALL) | {"traceId": "CvdlGRbNQ92ESOshHIAxnA==", "spanId": "t61rcWkgMzE="}
    carrier = carrier_span(SIGNAL)
    carrier["links"][0] |= {"traceId": CALL.trace_id.upper(), "spanId": CALL.span_id.upper()}
    file = _write(tmp_path, spans_line(span, carrier))
    assert _read(file) == [(CALL.span_id, ["fb-1"])]


def test_values_of_every_kind_are_decoded(tmp_path: Path) -> None:
    """Numbers may be text; what JSON has no number for stays text; bytes stay base64; an empty value is None."""
    kinds = {
        "int": {"intValue": 5},
        "long": {"intValue": "-9223372036854775808"},
        "double": {"doubleValue": 1},
        "nan": {"doubleValue": "NaN"},
        "bool": {"boolValue": True},
        "bytes": {"bytesValue": "AAEC"},
        "none": {},
        "list": {"arrayValue": {"values": [{"stringValue": "x"}]}},
        "empty": {"arrayValue": {}},
        "map": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
    }
    carrier = carrier_span(SIGNAL)
    carrier["attributes"] += [{"key": f"feedback.metadata.{key}", "value": value} for key, value in kinds.items()]
    with TelemetryFiles([_write(tmp_path, spans_line(carrier))]) as files:
        (signal,) = files.feedback()
    assert signal.metadata == {
        "int": 5,
        "long": -(2**63),
        "double": 1.0,
        "nan": "NaN",
        "bool": True,
        "bytes": "AAEC",
        "none": None,
        "list": ["x"],
        "empty": [],
        "map": {"k": "v"},
    }


def test_odd_values_lose_nothing_else(tmp_path: Path) -> None:
    """A score that is no number is none, an improvement that is no JSON stays text, a failed span has an error type."""
    carrier = carrier_span(replace(SIGNAL, score=None))
    carrier["attributes"] += [
        {"key": "feedback.score", "value": {"doubleValue": "NaN"}},
        {"key": "feedback.improvement", "value": {"stringValue": "not {json"}},
    ]
    span = call_span(CALL) | {"status": {"code": "STATUS_CODE_ERROR"}}
    span["attributes"] += attributes({"gen_ai.response.finish_reasons": "stop"})
    with TelemetryFiles([_write(tmp_path, spans_line(span, carrier))]) as files:
        (rated,) = files.rated()
    assert rated.call == replace(CALL, error_type="_OTHER", finish_reasons=("stop",))
    assert rated.feedback == (replace(SIGNAL, score=None, improvement="not {json"),)


def test_a_span_that_was_sent_twice_is_one_call(tmp_path: Path) -> None:
    """A retried batch, or the same file named twice, changes nothing."""
    file = _write(tmp_path, spans_line(call_span(CALL), carrier_span(SIGNAL)) * 2)
    assert _read(file, file) == [(CALL.span_id, ["fb-1"])]


def test_nothing_but_feedback_is_read_when_there_is_none(tmp_path: Path) -> None:
    """Without feedback the calls are not read at all."""
    with TelemetryFiles([_write(tmp_path, spans_line(call_span(CALL)))]) as files:
        assert list(files.rated()) == []
        assert files.summary() == []


def test_progress_tells_bytes_read_and_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rated calls take two passes over the files; feedback that was read before is not read again."""
    monkeypatch.setattr(lines_module, "_REPORT_BYTES", 5_000)
    size = WIRE.stat().st_size
    told: list[tuple[int, int]] = []
    with TelemetryFiles([WIRE], progress=lambda *both: told.append(both)) as files:
        list(files.rated())
        list(files.feedback())
        list(files.rated())
    assert told[-1] == (2 * size, 2 * size)
    assert told == sorted(told)
    assert len(told) > 4
    told.clear()
    with TelemetryFiles([WIRE], progress=lambda *both: told.append(both)) as files:
        list(files.feedback())
        assert told[-1] == (size, size)
        list(files.rated())
    assert told[-1] == (2 * size, 2 * size)


def test_rows_read_without_orjson_are_the_same(tmp_path: Path, run_without: Any) -> None:
    """The standard library's JSON gives the very same rows, and refuses what orjson refuses."""
    file = _write(tmp_path, '{"feedback.id": NaN}\n')
    code = """
import json, sys
from spanback.reading import TelemetryFiles
with TelemetryFiles(sys.argv[1:]) as files:
    print(json.dumps([rated.to_json() for rated in files.rated()]))
    print(files.damaged_count())
"""
    with TelemetryFiles([WIRE]) as files:
        expected = [rated.to_json() for rated in files.rated()]
    rows, damaged = run_without("orjson", code, str(WIRE), str(file)).splitlines()
    assert json.loads(rows) == expected
    assert damaged == "1"
