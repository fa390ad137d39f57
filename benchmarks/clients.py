"""What spanback adds to a call of each client, beside a span written by hand with the very same attributes.

The real clients of the tests' matrix are answered inside the process, each client in a process of its own. There the
bare call, the call with a span by hand and the call with spanback take turns, round by round; printed are the medians
of the paired differences to the bare call, in processor time. The span by hand gets what spanback's span of that call
has, as two constant mappings: what the request says at its start, and what the response says at its end. A chunk by
hand passes through a generator that notes the time of the first one; its cost is what longer streams take more than
short ones. "adopting" is a call whose span the client makes itself, beside the same call without spanback.

openai is measured in more ways by `python -m benchmarks.calls`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer, use_span

import spanback
from benchmarks.inside import InsideServer, call_of
from benchmarks.measure import Runner, Sample, Variant, paired
from benchmarks.peers import ROOT
from benchmarks.scenarios import Providers, providers_for

if TYPE_CHECKING:
    from tests.clients.cases import ClientCase, Style

EXAMPLES: Final = """
examples:
  python -m benchmarks.clients
  python -m benchmarks.clients anthropic cohere --rounds 100
  python -m benchmarks.clients groq --json > groq.json
"""
BARE, FLOOR, OURS = "bare", "by hand", "spanback"
MORE_CHUNKS: Final = 90
MOST_TIMES_FLOOR: Final = 1.0
MOST_US_A_CHUNK: Final = 0.5
MOST_US_ADOPTING: Final = 40.0
STYLES: Final[Mapping[str, tuple[str, str]]] = {
    "anthropic": ("messages.create", "messages.create streamed"),
    "bedrock": ("converse", "converse_stream"),
    "cohere": ("v2 chat", "v2 chat_stream"),
    "google-genai": ("models.generate_content", "models.generate_content_stream"),
    "groq": ("chat.completions.create", "chat.completions.create streamed"),
    "litellm": ("completion", "completion streamed"),
    "mistralai": ("chat.complete", "chat.stream"),
    "ollama": ("chat", "chat streamed"),
    "together": ("chat.completions.create", "chat.completions.create streamed"),
}
"""A whole chat and a streamed one, as the tests' matrix names them."""
_MOST_S: Final = 3.0
_FEWEST_ROUNDS: Final = 8
_WARM_UP_CALLS: Final = 5  # which `Runner` makes in each turn
_ENDINGS: Final = ("gen_ai.response.", "gen_ai.usage.", "openai.response.", "aws.bedrock.response.")
_LINE: Final = "{:<14}{:<12}{:>16}{:>16}{:>8}{:>8}{:>10}"


@dataclass(frozen=True)
class Instrumented(Variant):
    """The bare call, while spanback is in force."""

    providers: Providers | None = None

    @contextmanager
    def in_force(self) -> Iterator[Variant]:
        """Spanback instruments all clients, and takes itself back."""
        if self.providers is not None:
            _instrument(self.providers)
        try:
            yield self
        finally:
            spanback.uninstrument()


def _instrument(providers: Providers) -> None:
    given = {"tracer_provider": providers.tracer_provider, "meter_provider": providers.meter_provider}
    spanback.instrument(**given, set_up=False)


@dataclass(frozen=True)
class Span:
    """A span that spanback has made, as far as a span by hand can have it."""

    name: str
    at_start: Mapping[str, Any]
    at_end: Mapping[str, Any]

    @classmethod
    def of(cls, call: Callable[[], Any]) -> Span:
        """The span of a call."""
        exporter = InMemorySpanExporter()
        tracer_provider = TracerProvider()
        tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        _instrument(Providers(tracer_provider, providers_for("spans").meter_provider))
        call()
        spanback.uninstrument()
        (span,) = exporter.get_finished_spans()
        attributes = dict(span.attributes or {})
        at_end = {name: value for name, value in attributes.items() if name.startswith(_ENDINGS)}
        return cls(span.name, {name: value for name, value in attributes.items() if name not in at_end}, at_end)

    def around(self, tracer: Tracer, call: Callable[[], Any]) -> Callable[[], Any]:
        """A whole call with this span written by hand."""

        def by_hand() -> Any:
            with tracer.start_as_current_span(self.name, kind=SpanKind.CLIENT, attributes=self.at_start) as span:
                response = call()
                span.set_attributes(self.at_end)
            return response

        return by_hand

    def around_stream(self, tracer: Tracer, style: Style) -> Style:
        """A streamed style with this span written by hand."""

        def by_hand(client: Any, model: str) -> Iterator[Any]:
            span = tracer.start_span(self.name, kind=SpanKind.CLIENT, attributes=self.at_start)
            start_s, first_s = time.perf_counter(), None
            with use_span(span):
                stream = style.call(client, model)
            try:
                for chunk in stream:
                    if first_s is None:
                        first_s = time.perf_counter() - start_s
                    yield chunk
            finally:
                span.set_attributes({**self.at_end, "gen_ai.response.time_to_first_chunk": first_s or 0.0})
                span.end()

        return replace(style, call=by_hand)


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    given = _parser().parse_args(arguments)
    if given.one:
        json.dump(_measure(given.clients[0], given.rounds, given.calls), sys.stdout)
        return 0
    measured: dict[str, dict[str, dict[str, Sample]]] = {}
    for client in _progress(given.clients):
        measured[client] = _in_process(client, given)
    if given.json:
        readable = {
            client: {kind: {name: asdict(one) for name, one in samples.items()} for kind, samples in kinds.items()}
            for client, kinds in measured.items()
        }
        json.dump(readable, sys.stdout, indent=1)
        return 0
    print(_report(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.clients",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    known = ", ".join(STYLES)
    parser.add_argument("clients", nargs="*", default=list(STYLES), metavar="CLIENT", help=f"of {known}; all")
    parser.add_argument("--rounds", type=int, default=40, help="rounds, fewer where they would take long; 40")
    parser.add_argument("--calls", type=int, default=6, help="calls of each variant in a round; 6")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # the one client in this process
    return parser


def _progress(clients: list[str]) -> Iterator[str]:
    from rich.console import Console
    from rich.progress import track

    yield from track(clients, "measuring", console=Console(stderr=True))


def _in_process(client: str, given: argparse.Namespace) -> dict[str, dict[str, Sample]]:
    command = [sys.executable, "-m", "benchmarks.clients", client, "--one"]
    command += ["--rounds", str(given.rounds), "--calls", str(given.calls)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    done = subprocess.run(command, cwd=ROOT, env=kept, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{client} cannot be measured: {(done.stderr.splitlines() or ['?'])[-1]}", file=sys.stderr)
        return {}
    read = json.loads(done.stdout.splitlines()[-1])
    return {kind: {name: Sample(**one) for name, one in samples.items()} for kind, samples in read.items()}


def _measure(client: str, rounds: int, calls: int) -> dict[str, dict[str, Any]]:
    case = case_of(client)
    unary, streamed = (next(style for style in case.styles if style.name == name) for name in STYLES[client])
    providers = providers_for("spans")
    found: dict[str, dict[str, Sample]] = {}
    with InsideServer().answering() as server, Runner(is_async=False) as runner:
        server.speak(case.answers)
        made = case.connect(server, False)
        whole = call_of(unary, made)
        by_hand = Span.of(whole).around(providers.tracer, whole)
        found["chat"] = _run(runner, _variants(whole, by_hand, providers), rounds, 3 * calls)
        stream = call_of(streamed, made)
        by_hand = call_of(Span.of(stream).around_stream(providers.tracer, streamed), made)
        for kind, server.more_pieces in (("short", 0), ("long", MORE_CHUNKS)):
            found[kind] = _run(runner, _variants(stream, by_hand, providers), rounds, calls)
        server.more_pieces = 0
        if client == "anthropic" and int(version(client).partition(".")[0]) >= 2:
            traced = case.connect(server, False, open_telemetry={"tracer_provider": providers.tracer_provider})
            both = _variants(call_of(unary, traced), None, providers)
            found["adopting"] = _run(runner, both, rounds, 3 * calls)
    return {kind: {name: asdict(one) for name, one in samples.items()} for kind, samples in found.items()}


def _run(runner: Runner, variants: list[Variant], rounds: int, calls: int) -> dict[str, Sample]:
    """As many rounds as are asked for, or as fit into the time: some clients take milliseconds for a call."""
    runner.once(variants[0])
    start_s = time.perf_counter()
    runner.once(variants[0])
    turn_s = (time.perf_counter() - start_s) * (calls + _WARM_UP_CALLS)
    return runner.run(variants, min(rounds, max(_FEWEST_ROUNDS, int(_MOST_S / turn_s / len(variants)))), calls)


def case_of(client: str) -> ClientCase:
    """A client's case of the tests' matrix."""
    from importlib import import_module

    return import_module(f"tests.clients.{client.replace('-', '_')}").CASE


def _variants(call: Callable[[], Any], by_hand: Callable[[], Any] | None, providers: Providers) -> list[Variant]:
    floor = [] if by_hand is None else [Variant(FLOOR, by_hand)]
    return [Variant(BARE, call), *floor, Instrumented(OURS, call, providers=providers)]


def _report(measured: Mapping[str, Mapping[str, Mapping[str, Sample]]]) -> str:
    lines = [
        f"Python {sys.version.split()[0]}, spanback {version('spanback')}, medians (how far off they may be, 95 %)",
        "",
        _LINE.format("client", "", "by hand us", "spanback us", "ratio", "target", "bare us"),
    ]
    for client, kinds in measured.items():
        lines += [_row(client, kind, samples) for kind, samples in kinds.items() if kind in {"chat", "adopting"}]
        if "long" in kinds:
            lines.append(_row_a_chunk(client, kinds["short"], kinds["long"]))
    return "\n".join(lines)


def _row(client: str, kind: str, samples: Mapping[str, Sample]) -> str:
    bare = samples[BARE].times_us
    ours_us, ours_off = paired(samples[OURS].times_us, bare)
    given = (client, kind, "", _number(ours_us, ours_off), "", f"<={MOST_US_ADOPTING:.0f} us")
    if FLOOR in samples:
        floor_us, floor_off = paired(samples[FLOOR].times_us, bare)
        ratio = f"{ours_us / floor_us:.2f}"
        given = (
            *(client, kind, _number(floor_us, floor_off), _number(ours_us, ours_off)),
            *(ratio, f"<={MOST_TIMES_FLOOR}"),
        )
    return _LINE.format(*given, f"{statistics.median(bare):.0f}")


def _row_a_chunk(client: str, short: Mapping[str, Sample], long: Mapping[str, Sample]) -> str:
    def cost(name: str) -> tuple[float, float]:
        (long_us, long_off), (short_us, short_off) = (
            paired(samples[name].times_us, samples[BARE].times_us) for samples in (long, short)
        )
        return (long_us - short_us) / MORE_CHUNKS, math.hypot(long_off, short_off) / MORE_CHUNKS

    (floor_us, floor_off), (ours_us, ours_off) = cost(FLOOR), cost(OURS)
    bare_us = (statistics.median(long[BARE].times_us) - statistics.median(short[BARE].times_us)) / MORE_CHUNKS
    return _LINE.format(
        *(client, "a chunk", _number(floor_us, floor_off, 2), _number(ours_us, ours_off, 2)),
        *(f"{ours_us / floor_us:.2f}" if floor_us > floor_off else "-", f"<={MOST_US_A_CHUNK} us", f"{bare_us:.0f}"),
    )


def _number(value: float, off: float, digits: int = 1) -> str:
    return f"{value:.{digits}f} ±{off:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
