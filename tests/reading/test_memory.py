"""Memory stays flat: what is held does not grow with the file."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

from spanback.reading import Call, Feedback, TelemetryFiles
from tests.reading.writing import call_span, carrier_span, log_event, logs_line, spans_line

_CALLS_A_LINE = 20


def _write(file: Path, lines: int) -> None:
    text = [{"role": "user", "parts": [{"type": "text", "content": "x" * 10_000}]}]
    call = Call("1" * 32, "", None, "chat gpt-5", "chat", 1, 1, request_model="gpt-5", input_messages=text)
    signal = Feedback("", 2, trace_id="1" * 32, score=-1.0)
    with file.open("w") as out:
        for line in range(lines):
            ids = [f"{line * _CALLS_A_LINE + number + 1:016x}" for number in range(_CALLS_A_LINE)]
            signals = [replace(signal, span_id=span_id, feedback_id=span_id) for span_id in ids]
            out.write(spans_line(*(call_span(replace(call, span_id=span_id)) for span_id in ids)))
            out.write(spans_line(*map(carrier_span, signals)))
            out.write(logs_line(*map(log_event, signals)))


def _peak_bytes(file: Path, calls: int) -> int:
    tracemalloc.start()
    try:
        with TelemetryFiles([file]) as files:
            assert sum(rated.call is not None for rated in files.rated()) == calls
            assert [row.signals for row in files.summary()] == [calls]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Eight times as many rated calls, in 8 MB, take at most a tenth more of Python's memory."""
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    _write(small, 5)
    _write(large, 40)
    assert large.stat().st_size > 8_000_000
    _peak_bytes(small, 5 * _CALLS_A_LINE)
    before, after = _peak_bytes(small, 5 * _CALLS_A_LINE), _peak_bytes(large, 40 * _CALLS_A_LINE)
    assert after < 1.1 * before
    assert after < 5_000_000
