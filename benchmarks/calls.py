"""What spanback adds to a call of the real openai client, beside a span written by hand with the same attributes.

The client speaks to a transport inside the process. Every scenario runs in fresh processes; in each, the bare client,
the span by hand, spanback and, where asked for, another instrumentation take turns, round by round. Printed are the
medians of the paired differences to the bare client.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import spanback
from benchmarks.measure import Runner, Sample, Variant, patches_of
from benchmarks.peers import PEERS, ROOT, default_cache, environment_for
from benchmarks.scenarios import SCENARIOS, Providers, Scenario, calls_of, one_by_one, pin_to_one_cpu, providers_for
from benchmarks.table import BARE, FLOOR, ONE_BY_ONE, OURS, Samples, chunk_rows, head, rows

EXAMPLES: Final = """
examples:
  python -m benchmarks.calls
  python -m benchmarks.calls chat none --rounds 300
  python -m benchmarks.calls --peers openinference openllmetry genai langfuse logfire
  python -m benchmarks.calls chat --peers genai --json > chat.json
"""


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    given = _parser().parse_args(arguments)
    if given.one:
        json.dump(_measure(given.scenarios[0], given.rounds, given.calls, given.one), sys.stdout)
        return 0
    pythons = {None: Path(sys.executable)} | {peer: environment_for(peer, given.cache) for peer in given.peers}
    measured: dict[tuple[str, str | None], Samples] = {}
    _show([] if given.json else [head()])
    for scenario in given.scenarios:
        for peer, python in pythons.items():
            if sys.stderr.isatty():
                print(f"measuring {scenario} {peer or ''} ...", end="\r", file=sys.stderr, flush=True)
            found = [_in_process(python, scenario, peer, given) for _ in range(given.processes)]
            measured[scenario, peer] = _pooled(sample for sample in found if sample)
            _show([] if given.json else rows(scenario, peer, measured[scenario, peer]))
    if given.json:
        readable = [
            {"scenario": scenario, "peer": peer, "samples": {name: asdict(one) for name, one in samples.items()}}
            for (scenario, peer), samples in measured.items()
        ]
        json.dump(readable, sys.stdout, indent=1)
    else:
        _show(chunk_rows(measured))
    return 0


def _show(lines: Iterable[str]) -> None:
    """Prints lines at once: all scenarios together take half an hour."""
    for line in lines:
        print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.calls",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    known = ", ".join(SCENARIOS)
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS), metavar="SCENARIO", help=f"of {known}; all")
    parser.add_argument("--rounds", type=int, default=100, help="rounds in each process; 100")
    parser.add_argument("--calls", type=int, default=20, help="calls of each variant in a round; 20")
    parser.add_argument("--processes", type=int, default=3, help="processes of each scenario; 3")
    parser.add_argument("--peers", nargs="+", default=[], choices=sorted(PEERS), help="other instrumentations")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where their environments are kept")
    parser.add_argument("--pin", action="store_true", help="stay on one processor")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one scenario in this process, with a peer or "-"
    return parser


def _in_process(python: Path, scenario: str, peer: str | None, given: argparse.Namespace) -> Samples:
    command = [python, "-m", "benchmarks.calls", scenario, "--one", peer or "-"]
    command += ["--rounds", str(given.rounds), "--calls", str(given.calls), *(["--pin"] if given.pin else [])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    done = subprocess.run(command, cwd=ROOT, env=kept, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return {name: Sample(**sample) for name, sample in json.loads(done.stdout.splitlines()[-1]).items()}


def _measure(name: str, rounds: int, calls_a_round: int, peer: str) -> Mapping[str, Mapping[str, Any]]:
    """One scenario in this process. Empty where the peer cannot do what it asks."""
    if "--pin" in sys.argv:
        pin_to_one_cpu()
    scenario = SCENARIOS[name]
    with Runner(is_async=scenario.is_async) as runner:
        if peer == "-" and scenario.telemetry in {"spans", "content", "metrics"}:
            _check_same_span(scenario, runner)
        variants = _variants(scenario, runner, peer)
        samples = runner.run(variants, rounds, calls_a_round) if variants else {}
    return {variant: asdict(sample) for variant, sample in samples.items()}


def _variants(scenario: Scenario, runner: Runner, peer: str) -> list[Variant]:
    """None where the peer cannot do what the scenario asks."""
    providers = providers_for(scenario.telemetry)
    own = providers_for(scenario.telemetry)  # that nobody has put a processor on
    bare, by_hand = calls_of(scenario, own)
    runner.once(Variant(BARE, bare))  # so that the client's lazy modules are there before anybody wraps them
    variants = [Variant(BARE, bare), Variant(FLOOR, by_hand)]
    slowly = one_by_one(scenario, own)
    if slowly is not None and peer == "-":
        variants.append(Variant(ONE_BY_ONE, slowly))
    variants.append(Variant(OURS, bare, patches_of("openai", lambda: _instrument(scenario, providers))))
    if peer != "-":
        can: list[bool] = []
        patches = patches_of("openai", lambda: can.append(PEERS[peer].instrument(providers, scenario.telemetry)))
        if not can[0]:
            return []
        variants.append(Variant(peer, bare, patches))
    return variants


def _instrument(scenario: Scenario, providers: Providers) -> None:
    spanback.instrument(
        tracer_provider=providers.tracer_provider,
        meter_provider=providers.meter_provider,
        capture_content="span_only" if scenario.telemetry == "content" else False,
        clients=["openai"],
        set_up=False,
    )


def _check_same_span(scenario: Scenario, runner: Runner) -> None:
    """The comparison is only fair while both spans say the same."""
    exporter = InMemorySpanExporter()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    providers = Providers(tracer_provider, providers_for(scenario.telemetry).meter_provider)
    bare, by_hand = calls_of(scenario, providers)
    runner.once(Variant(BARE, bare))
    runner.once(Variant(OURS, bare, patches_of("openai", lambda: _instrument(scenario, providers))))
    runner.once(Variant(FLOOR, by_hand))
    spanback.uninstrument()
    ours, theirs = (_comparable(span) for span in exporter.get_finished_spans())
    if ours != theirs:
        differing = {key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)}
        raise SystemExit(f"the span by hand differs from spanback's: {differing}")


def _comparable(span: Any) -> dict[str, Any]:
    changing = ("gen_ai.response.id", "gen_ai.response.time_to_first_chunk")
    attributes = {key: "any" if key in changing else value for key, value in span.attributes.items()}
    return {**attributes, "name": span.name, "kind": span.kind, "status": span.status.status_code}


def _pooled(found: Iterable[Samples]) -> Samples:
    """Samples of several processes as one: their rounds are put side by side."""
    pooled: Samples = {}
    for samples in found:
        for name, sample in samples.items():
            known = pooled.setdefault(name, Sample(calls=sample.calls))
            known.times_us += sample.times_us
            known.garbage = sample.garbage
    return pooled


if __name__ == "__main__":
    sys.exit(main())
