"""What spanback adds to a call of each client, beside a span written by hand with the very same attributes.

The real clients of the tests' matrix are answered inside the process, each client in a process of its own. There the
bare call, the call with a span by hand and the call with spanback take turns, round by round; printed are the medians
of the paired differences to the bare call, in processor time. The span by hand gets what spanback's span of that call
has: what the request says at its start, as a constant mapping, and what the response says at its end, read from it by
the few lines of `benchmarks.by_hand`. "adopting" is a call whose span the client makes itself, beside the same call
without spanback.

What a chunk takes would drown in what the client takes for one. So a real stream is recorded once, and from then on the
client's own iterator, where spanback stands around it, gives the recorded chunks again; the cost of a chunk is what a
long stream takes more than a short one, divided by the chunks between, beside the same replay without spanback.

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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

import spanback
from benchmarks import by_hand, replay
from benchmarks.inside import MODEL, InsideServer, call_of
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
RECORDED_CHUNKS: Final = 64
MORE_CHUNKS: Final = 4_096
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
_MOST_S: Final = 20.0
_FEWEST_ROUNDS: Final = 8
_WARM_UP_CALLS: Final = 5  # which `Runner` makes in each turn
_ENDINGS: Final = ("gen_ai.response.", "gen_ai.usage.", "openai.response.", "aws.bedrock.response.")
_LINE: Final = "{:<14}{:<12}{:>16}{:>16}{:>8}{:>8}{:>10}"


@dataclass(frozen=True)
class Instrumented(Variant):
    """The bare call, while spanback is in force, and what else is to be."""

    providers: Providers | None = None
    beside: Callable[[], AbstractContextManager[None]] = nullcontext

    @contextmanager
    def in_force(self) -> Iterator[Variant]:
        """Spanback instruments all clients, and takes itself back."""
        with self.beside():
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
    """A span that spanback has made, as far as a span by hand can begin with it."""

    name: str
    at_start: Mapping[str, Any]

    @classmethod
    def of(cls, call: Callable[[], Any], read: by_hand.Read) -> Span:
        """The span of a call, which says of the response what is read by hand."""
        exporter = InMemorySpanExporter()
        tracer_provider = TracerProvider()
        tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        _instrument(Providers(tracer_provider, providers_for("spans").meter_provider))
        response = call()
        spanback.uninstrument()
        (span,) = exporter.get_finished_spans()
        attributes = dict(span.attributes or {})
        at_end = {name: value for name, value in attributes.items() if name.startswith(_ENDINGS)}
        read_by_hand = {name: tuple(one) if isinstance(one, list) else one for name, one in read(response).items()}
        assert read_by_hand == at_end, f"by hand: {read_by_hand}, spanback: {at_end}"
        return cls(span.name, {name: value for name, value in attributes.items() if name not in at_end})

    def around(self, tracer: Tracer, call: Callable[[], Any], read: by_hand.Read) -> Callable[[], Any]:
        """A whole call with this span written by hand."""

        def made() -> Any:
            with tracer.start_as_current_span(self.name, kind=SpanKind.CLIENT, attributes=self.at_start) as span:
                response = call()
                span.set_attributes(read(response))
            return response

        return made


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
    parser.add_argument("--rounds", type=int, default=150, help="rounds, fewer where they would take long; 150")
    parser.add_argument("--calls", type=int, default=2, help="calls of each variant in a round; 2")
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
        whole, read = call_of(unary, made), by_hand.READ[client]
        floor = Variant(FLOOR, Span.of(whole, read).around(providers.tracer, whole, read))
        both = [Variant(BARE, whole), Instrumented(OURS, whole, providers=providers)]
        found["chat"] = _run(runner, [floor, *both], rounds, 3 * calls)
        server.more_pieces = RECORDED_CHUNKS
        replays = _replays(streamed, made, providers)
        server.more_pieces = 0
        for kind, variants in replays.items():
            found[kind] = _run(runner, variants, rounds, calls)
        if client == "anthropic" and int(version(client).partition(".")[0]) >= 2:
            traced = case.connect(server, False, open_telemetry={"tracer_provider": providers.tracer_provider})
            whole = call_of(unary, traced)
            both = [Variant(BARE, whole), Instrumented(OURS, whole, providers=providers)]
            found["adopting"] = _run(runner, both, rounds, 3 * calls)
    return {kind: {name: asdict(one) for name, one in samples.items()} for kind, samples in found.items()}


def _replays(style: Style, client: Any, providers: Providers) -> dict[str, list[Variant]]:
    """A short stream and a long one of recorded chunks, each with spanback around the chunks and without."""
    stream = call_of(style, client)
    _instrument(providers)
    recorded = replay.record(stream)
    spanback.uninstrument()
    found: dict[str, list[Variant]] = {}
    steps: list[Any] = []
    if not recorded:  # it makes its chunks in `__next__`
        opened = iter(style.call(client, MODEL))
        steps += opened
    for kind, more in (("short", 0), ("long", MORE_CHUNKS)):
        if recorded:
            play = partial(replay.playing, replay.lengthened(recorded, more))
            bare = Instrumented(BARE, stream, providers=providers, beside=partial(play, is_watched=False))
            ours = Instrumented(OURS, stream, providers=providers, beside=partial(play, is_watched=True))
        else:
            play = partial(replay.stepping, type(opened), replay.lengthened(steps, more))
            bare = Instrumented(BARE, stream, beside=play)
            ours = Instrumented(OURS, stream, providers=providers, beside=play)
        found[kind] = [bare, ours]
    return found


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
    (long_us, long_off), (short_us, short_off) = (
        paired(samples[OURS].times_us, samples[BARE].times_us) for samples in (long, short)
    )
    a_chunk = _number((long_us - short_us) / MORE_CHUNKS, math.hypot(long_off, short_off) / MORE_CHUNKS, 2)
    return _LINE.format(client, "a chunk", "", a_chunk, "", f"<={MOST_US_A_CHUNK} us", "")


def _number(value: float, off: float, digits: int = 1) -> str:
    return f"{value:.{digits}f} ±{off:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
