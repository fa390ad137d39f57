"""How many gateways a load needs, from what was measured: `python deploy/kubernetes/sizing.py [SIGNALS_PER_S ...]`.

`python -m benchmarks.collector` measures the processor time of a span; other machines are faster or slower, so measure
there and put the figures here. A gateway is given one core, of which half is planned for, so that the others can take
over when one is gone and a backlog can be worked off.
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

MEASURED_US_A_SPAN = 26.4
"""Processor time through collector-config.yaml with ten calls to a signal, on the cores of the project's tests."""
MEASURED_US_A_SIGNAL = 59.6
"""The same of a signal, where nothing but signals comes."""

CALLS_A_SIGNAL = 10
PLANNED_SHARE = 0.5
MIN_GATEWAYS = 3
QUEUED_BYTES_A_SIGNAL = 2_000
"""On disk, while the backend is away."""
TRACE_BYTES_A_SPAN = 4_000
"""In memory, while the sampler waits for the trace to be complete."""
SAMPLE_WAIT_S = 10
BASE_MEMORY_MIB = 200


class Size(NamedTuple):
    """What a load needs."""

    signals_per_s: int
    spans_per_s: int
    cores: float
    gateways: int
    memory_mib: int
    disk_gib_an_hour: float


def size(signals_per_s: int) -> Size:
    """The size of all gateways together, for so many signals a second and ten calls to each."""
    spans_per_s = signals_per_s * (CALLS_A_SIGNAL + 1)
    cores = spans_per_s * MEASURED_US_A_SPAN / 1e6
    gateways = max(MIN_GATEWAYS, math.ceil(cores / PLANNED_SHARE) + (1 if cores > 1 else 0))
    held = spans_per_s * SAMPLE_WAIT_S * TRACE_BYTES_A_SPAN / gateways
    memory_mib = math.ceil((BASE_MEMORY_MIB + 2 * held / 2**20) / 256) * 256
    disk = signals_per_s * QUEUED_BYTES_A_SIGNAL * 3_600 / gateways / 2**30
    return Size(signals_per_s, spans_per_s, cores, gateways, memory_mib, disk)


def table(loads: list[int]) -> str:
    """The sizes of some loads, as the README shows them."""
    rows = [
        "| signals a second | spans a second | cores in use | gateways | memory of each | disk of each, for one hour |",
        "|---|---|---|---|---|---|",
    ]
    for load in loads:
        one = size(load)
        rows.append(
            f"| {one.signals_per_s:,} | {one.spans_per_s:,} | {one.cores:.2f} | {one.gateways} "
            f"| {one.memory_mib:,} MiB | {one.disk_gib_an_hour:.1f} GiB |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table([int(one) for one in sys.argv[1:]] or [10, 100, 1_000, 10_000]))
