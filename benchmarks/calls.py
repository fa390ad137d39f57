"""What spanback adds to a call of the real openai client, beside a span written by hand with the same attributes.

The client speaks to a transport inside the process. Every scenario runs in fresh processes; in each, the bare client,
the span by hand, spanback and, where asked for, another instrumentation take turns, round by round. Printed are the
medians of the paired differences to the bare client.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import spanback
from benchmarks.measure import Runner, Sample, Variant, paired, patches_of
from benchmarks.peers import PEERS, ROOT, default_cache, environment_for
from benchmarks.scenarios import (
    MOST_CALLS_A_CHUNK,
    MOST_US_A_CHUNK,
    SCENARIOS,
    Providers,
    Scenario,
    calls_of,
    pin_to_one_cpu,
    providers_for,
)

BARE, FLOOR, OURS = "bare", "by hand", "spanback"
Samples = dict[str, Sample]

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
    for scenario in given.scenarios:
        for peer, python in pythons.items():
            found = [_in_process(python, scenario, peer, given) for _ in range(given.processes)]
            measured[scenario, peer] = _pooled(sample for sample in found if sample)
            print(f"{scenario} {peer or ''}", "done" if found[0] else "cannot be measured", file=sys.stderr)
    if given.json:
        readable = [
            {"scenario": scenario, "peer": peer, "samples": {name: asdict(one) for name, one in samples.items()}}
            for (scenario, peer), samples in measured.items()
        ]
        json.dump(readable, sys.stdout, indent=1)
    else:
        print(_report(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.calls", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawTextHelpFormatter
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
    runner = Runner(is_async=scenario.is_async)
    if peer == "-" and scenario.telemetry in {"spans", "content", "metrics"}:
        _check_same_span(scenario, runner)
    providers = providers_for(scenario.telemetry)
    bare, by_hand = calls_of(scenario, providers)
    runner.once(Variant(BARE, bare))  # so that the client's lazy modules are there before anybody wraps them
    variants = [Variant(BARE, bare), Variant(FLOOR, by_hand)]
    variants.append(Variant(OURS, bare, patches_of("openai", lambda: _instrument(scenario, providers))))
    if peer != "-":
        can: list[bool] = []
        patches = patches_of("openai", lambda: can.append(PEERS[peer].instrument(providers, scenario.telemetry)))
        if not can[0]:
            return {}
        variants.append(Variant(peer, bare, patches))
    samples = runner.run(variants, rounds, calls_a_round)
    return {variant: asdict(sample) for variant, sample in samples.items()}


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


def _report(measured: Mapping[tuple[str, str | None], Samples]) -> str:
    versions = " ".join(f"{name} {version(name)}" for name in ("spanback", "openai", "opentelemetry-sdk"))
    lines = [
        f"Python {sys.version.split()[0]}, {versions}",
        "Added to the bare client: us (95 %), ratio to the span by hand of the same run, Python calls, and objects left"
        " to the cycle collector.",
        "",
        f"{'scenario':<26}{'variant':<15}{'added us':>16}{'ratio':>8}{'target':>8}"
        f"{'calls':>8}{'target':>8}{'garbage':>9}{'bare us':>9}",
    ]
    for (name, peer), samples in measured.items():
        if not samples:
            lines.append(f"{SCENARIOS[name].label:<26}{peer or '':<15}{'-':>16}")
            continue
        shown = [FLOOR, OURS] if peer is None else [peer]
        lines += [_row(SCENARIOS[name], variant, samples) for variant in shown]
    for kind in ("stream", "async-stream"):
        lines += _rows_a_chunk(kind, measured)
    return "\n".join(lines)


def _row(scenario: Scenario, variant: str, samples: Samples) -> str:
    bare, sample = samples[BARE], samples[variant]
    added_us, off_us = paired(sample.times_us, bare.times_us)
    ratio = added_us / paired(samples[FLOOR].times_us, bare.times_us)[0]
    most, most_calls = ("", "") if variant != OURS else (_most(scenario.most_times_floor), _most(scenario.most_calls))
    return (
        f"{scenario.label:<26}{variant:<15}{added_us:>9.1f} ±{off_us:>5.1f}{ratio:>8.2f}{most:>8}"
        f"{sample.calls - bare.calls:>8}{most_calls:>8}{sample.garbage - bare.garbage:>9.1f}"
        f"{statistics.median(bare.times_us):>9.0f}"
    )


def _rows_a_chunk(kind: str, measured: Mapping[tuple[str, str | None], Samples]) -> list[str]:
    """What each chunk costs: the difference between long and short streams."""
    rows: list[str] = []
    for (name, peer), long in measured.items():
        short = measured.get((f"{kind}-10", peer))
        if name != f"{kind}-200" or not long or not short:
            continue
        for variant in [FLOOR, OURS] if peer is None else [peer]:
            (long_us, long_off), (short_us, short_off) = (
                paired(samples[variant].times_us, samples[BARE].times_us) for samples in (long, short)
            )
            calls = [samples[variant].calls - samples[BARE].calls for samples in (long, short)]
            most = (f"<={MOST_US_A_CHUNK} us", f"<={MOST_CALLS_A_CHUNK}") if variant == OURS else ("", "")
            label = f"a chunk{', async' if kind.startswith('async') else ''}"
            rows.append(
                f"{label:<26}{variant:<15}{(long_us - short_us) / 190:>9.2f}"
                f" ±{math.hypot(long_off, short_off) / 190:>5.2f}{'':>6}{most[0]:>10}"
                f"{(calls[0] - calls[1]) / 190:>8.2f}{most[1]:>8}"
            )
    return rows


def _most(target: float | None) -> str:
    return "" if target is None else f"<={target}"


if __name__ == "__main__":
    sys.exit(main())
