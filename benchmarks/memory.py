"""Whether memory stays flat: resident memory over many calls and feedback signals, printed at every tenth.

Of every hundred calls 70 get a whole response, 10 a stream that is read to its end, 5 a stream that is dropped after
one chunk and 5 one that is never read (none of them is ever closed), 5 a background response that nobody fetches, 3 a
raw response that nobody parses, and 2 fail. Each is rated at once, failed ones by an id that nobody knows. The app
keeps the last thousand responses. Spans and events go through batch processors to exporters that do nothing.

With `--client light`, the default, the client's own request is replaced, below spanback, by one that returns objects
of the client's types at once: the real one takes several times as long as what is measured here, which is spanback's
wrapper, spans, streams, index and feedback. `--client real` makes every call with the real client over a transport
inside the process. The name of another client makes calls of that one, as the tests' matrix has them.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, cast

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import spanback
from benchmarks.clients import STYLES
from benchmarks.endless import Calls, CaseCalls, LightCalls, RealCalls
from benchmarks.inside import InsideServer
from benchmarks.scenarios import NullExporter

EXAMPLES: Final = """
examples:
  python -m benchmarks.memory
  python -m benchmarks.memory --calls 100000 --client real
  python -m benchmarks.memory --calls 100000 --client anthropic
"""
MOST_MB: Final = 4.0
_LEAST_WARM_UP: Final = 20_000


class App:
    """Makes calls of every kind, in the mix that the module describes, and gives feedback on each."""

    def __init__(self, calls: Calls) -> None:
        self.made = 0
        self.left_open = 0
        self._calls = calls
        self._kept: deque[Any] = deque(maxlen=1_000)
        mix: dict[Callable[[], Any], int] = {
            calls.whole: 70,
            self._read: 10,
            self._break_off: 5,
            self._never_read: 5,
            calls.background: 5,
            calls.never_parsed: 3,
            calls.failed: 2,
        }
        self._mix = itertools.cycle([make for make, share in mix.items() for _ in range(share)])

    def run(self, calls: int) -> None:
        """Makes so many calls and records as many signals."""
        for make in itertools.islice(self._mix, calls):
            self.made += 1
            number = self.made
            rated = make()
            self._kept.append(rated)
            spanback.record_feedback(
                f"chatcmpl-nobody-knows-{number}" if rated is None else rated,
                score=1.0 if number % 3 else -1.0,
                name="user_thumbs",
                user_id=f"user-{number}",
                metadata={"number": number},
            )

    def _read(self) -> Any:
        stream = self._calls.stream()
        return self._calls.rated(list(stream), stream)

    def _break_off(self) -> Any:
        self.left_open += 1
        stream = self._calls.stream()
        next(iter(stream))
        return self._calls.rated([], stream)

    def _never_read(self) -> Any:
        self.left_open += 1
        return self._calls.rated([], self._calls.stream())


class NullLogExporter:
    """Takes events nowhere. A plain class, since the SDK's base class changes its name between versions."""

    def export(self, _batch: Sequence[Any]) -> None:
        """Forgets them."""

    def shutdown(self) -> None:
        """Has nothing to close."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Has nothing to wait for."""
        return timeout_millis >= 0


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; 1 when memory has grown."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.memory",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls, each with a feedback signal; 1,000,000")
    parser.add_argument("--client", choices=("light", "real", *STYLES), default="light", help="of the calls; light")
    parser.add_argument("--most-mb", type=float, default=MOST_MB, help=f"growth allowed after the warm-up; {MOST_MB}")
    given = parser.parse_args(arguments)
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(NullExporter()))
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(cast("Any", NullLogExporter())))
    server = InsideServer()
    with server.answering() if given.client in STYLES else nullcontext():
        return _measure(given, App(_calls_of(given.client, server)), tracer_provider, logger_provider)


def _calls_of(client: str, server: InsideServer) -> Calls:
    if client in STYLES:
        return CaseCalls(client, server)
    return LightCalls() if client == "light" else RealCalls()


def _measure(
    given: argparse.Namespace, app: App, tracer_provider: TracerProvider, logger_provider: LoggerProvider
) -> int:
    spanback.instrument(tracer_provider=tracer_provider, logger_provider=logger_provider, set_up=False)
    print(f"{'calls and signals':>18}{'streams left open':>19}{'RSS MB':>9}{'growth MB':>11}{'us each':>9}", flush=True)
    app.run(max(given.calls // 10, _LEAST_WARM_UP))
    first_mb = _row(app, None, 0.0)
    grown_mb = 0.0
    for _ in range(10):
        start_s = time.process_time()
        app.run(given.calls // 10)
        grown_mb = _row(app, first_mb, (time.process_time() - start_s) / (given.calls // 10) * 1e6) - first_mb
    is_flat = grown_mb <= given.most_mb
    print(f"{'flat' if is_flat else 'GROWN'}: {grown_mb:+.1f} MB over {given.calls:,} calls, {given.client} client")
    return 0 if is_flat else 1


def _row(app: App, first_mb: float | None, took_us: float) -> float:
    gc.collect()
    now_mb = resident_mb()
    growth = "warmed up" if first_mb is None else f"{now_mb - first_mb:+.1f}"
    print(f"{app.made:>18,}{app.left_open:>19,}{now_mb:>9.1f}{growth:>11}{took_us:>9.1f}", flush=True)
    return now_mb


def resident_mb() -> float:
    """The memory that this process holds, in MB; where the system does not tell, the most that it has held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main())
