"""The table of what calls cost."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from benchmarks.measure import Sample, paired
from benchmarks.scenarios import MOST_CALLS_A_CHUNK, MOST_US_A_CHUNK, SCENARIOS, Scenario

BARE, FLOOR, ONE_BY_ONE, OURS = "bare", "by hand", "one by one", "spanback"
Samples = dict[str, Sample]
_CHUNKS: Final = 200 - 10
_LINE: Final = "{:<28}{:<14}{:>16}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}"
_NOTES: Final = """
Added to the bare client, in processor time: median of the paired differences (how far off it may be, 95 %), its ratio
to the span by hand of the same rounds, Python calls, and objects left to the cycle collector. The span by hand gets two
mappings of attributes; `one by one` sets those of the response each by itself, as most code does.
"""


def head() -> str:
    """What stands above the rows."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("spanback", "openai", "opentelemetry-sdk"))
    columns = _LINE.format("scenario", "", "added us", "ratio", "target", "calls", "target", "garbage", "bare us")
    return f"Python {sys.version.split()[0]}, {versions}\n{_NOTES}\n{columns}"


def rows(name: str, peer: str | None, samples: Samples) -> list[str]:
    """The rows of a scenario, of which a peer has but one; with a dash where it cannot do what the scenario asks."""
    if not samples:
        return [_LINE.format(SCENARIOS[name].label, peer or "", *("-", *[""] * 6))]
    return [_row(SCENARIOS[name], variant, samples) for variant in _shown(peer, samples)]


def chunk_rows(measured: Mapping[tuple[str, str | None], Samples]) -> list[str]:
    """What each chunk costs, where long and short streams were measured."""
    found: list[str] = []
    for (name, peer), long in measured.items():
        short = measured.get((name.replace("200", "10"), peer))
        if name.endswith("200") and long and short:
            found += [_row_a_chunk(name, variant, short, long) for variant in _shown(peer, long)]
    return found


def _shown(peer: str | None, samples: Samples) -> list[str]:
    return [variant for variant in (FLOOR, ONE_BY_ONE, OURS) if variant in samples] if peer is None else [peer]


def _row(scenario: Scenario, variant: str, samples: Samples) -> str:
    bare, sample = samples[BARE], samples[variant]
    added_us, off_us = paired(sample.times_us, bare.times_us)
    targets = (scenario.most_times_floor, scenario.most_calls) if variant == OURS else (None, None)
    most, most_calls = ("" if target is None else f"<={target}" for target in targets)
    return _LINE.format(
        scenario.label,
        variant,
        f"{added_us:.1f} ±{off_us:>5.1f}",
        f"{added_us / paired(samples[FLOOR].times_us, bare.times_us)[0]:.2f}",
        most,
        sample.calls - bare.calls,
        most_calls,
        f"{sample.garbage - bare.garbage:.1f}",
        f"{statistics.median(bare.times_us):.0f}",
    )


def _row_a_chunk(name: str, variant: str, short: Samples, long: Samples) -> str:
    """What each chunk costs: the difference between long and short streams."""
    (long_us, long_off), (short_us, short_off) = (
        paired(samples[variant].times_us, samples[BARE].times_us) for samples in (long, short)
    )
    calls = [samples[variant].calls - samples[BARE].calls for samples in (long, short)]
    is_limited = variant == OURS
    return _LINE.format(
        f"a chunk ({name.removesuffix('-200')})",
        variant,
        f"{(long_us - short_us) / _CHUNKS:.2f} ± {math.hypot(long_off, short_off) / _CHUNKS:.2f}",
        "",
        f"<={MOST_US_A_CHUNK}" if is_limited else "",
        f"{(calls[0] - calls[1]) / _CHUNKS:.2f}",
        f"<={MOST_CALLS_A_CHUNK}" if is_limited else "",
        "",
        f"{(statistics.median(long[BARE].times_us) - statistics.median(short[BARE].times_us)) / _CHUNKS:.0f}",
    )
