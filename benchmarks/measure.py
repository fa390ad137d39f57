"""How it is measured: variants take turns, round by round in one process, and the median of paired differences counts.

A shared machine is slow for whole seconds at a time. Within one round of some milliseconds all variants are slowed
alike, so their difference keeps its meaning. The clock is the processor time of the whole process: nothing here waits,
so that is what a call takes on a machine of its own, and work that is left to a thread counts, too. Python calls do not
jitter at all; they are counted.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing_extensions import Self

Call = Callable[[], Any]
_MISSING: Final = object()
_WARM_UP_CALLS: Final = 5


@dataclass(frozen=True)
class Patch:
    """One attribute that an instrumentation has replaced."""

    owner: Any
    name: str
    before: Any
    after: Any


def patches_of(package: str, instrument: Callable[[], object]) -> list[Patch]:
    """What an instrumentation replaces in a package's modules and classes; everything is put back again.

    So any instrumentation can be switched on and off between two rounds, also one that cannot uninstrument itself.
    """
    deque(_attributes(package), maxlen=0)  # touching the client's lazy proxies imports what they stand for
    attributes = list(_attributes(package))
    before = {(id(owner), name): value for owner, name, value in attributes}
    known = {id(owner) for owner, _, _ in attributes}
    instrument()
    patches = [
        Patch(owner, name, before.get((id(owner), name), _MISSING), value)
        for owner, name, value in _attributes(package)
        if id(owner) in known and before.get((id(owner), name), _MISSING) is not value
    ]
    patches = [patch for patch in patches if callable(patch.after) and not isinstance(patch.owner, ModuleType)]
    _switch(patches, is_on=False)
    return patches


def _attributes(package: str) -> Iterator[tuple[Any, str, Any]]:
    seen: set[int] = set()
    modules = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] == package]
    for module in modules:
        classes = [one for one in list(vars(module).values()) if isinstance(one, type)]
        for owner in (module, *(one for one in classes if one.__module__.partition(".")[0] == package)):
            if id(owner) not in seen:
                seen.add(id(owner))
                for name, value in list(vars(owner).items()):
                    yield owner, name, value


def _switch(patches: Iterable[Patch], *, is_on: bool) -> None:
    for patch in patches:
        value = patch.after if is_on else patch.before
        if value is _MISSING:
            delattr(patch.owner, patch.name)
        else:
            setattr(patch.owner, patch.name, value)


@dataclass(frozen=True)
class Variant:
    """One way of making the same call. An async call is a coroutine function."""

    name: str
    call: Call
    patches: list[Patch] = field(default_factory=list)

    @contextmanager
    def in_force(self) -> Iterator[Variant]:
        """Its instrumentation, and no other, is in force."""
        _switch(self.patches, is_on=True)
        try:
            yield self
        finally:
            _switch(self.patches, is_on=False)


@dataclass
class Sample:
    """What was seen of one variant.

    Attributes:
        times_us: The mean processor time of a call in microseconds, one a round.
        calls: The Python functions that one call enters.
        garbage: Objects a call left for the cycle collector.
    """

    times_us: list[float] = field(default_factory=list)
    calls: int = 0
    garbage: float = 0.0


class Runner:
    """Runs variants in turn. A context manager, since async calls share one event loop.

    Args:
        is_async: Whether their calls are coroutine functions.
    """

    def __init__(self, *, is_async: bool) -> None:
        self._loop = asyncio.new_event_loop() if is_async else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.close()

    def once(self, variant: Variant) -> None:
        """Makes one call, with the variant's instrumentation in force."""
        with variant.in_force():
            self._batch_us(variant.call, 1)

    def run(self, variants: list[Variant], rounds: int, calls_a_round: int) -> dict[str, Sample]:
        """Measures all variants side by side.

        Args:
            variants: The variants, of distinct names.
            rounds: How many rounds; in each, every variant has its turn, in random order.
            calls_a_round: How many calls a turn is, after some that are not measured.
        """
        samples = {variant.name: Sample(calls=self.count(variant)) for variant in variants}
        order = list(variants)
        gc.collect()
        gc.freeze()
        for _ in repeat(None, rounds):
            random.shuffle(order)
            for variant in order:
                sample = samples[variant.name]
                with variant.in_force():
                    self._batch_us(variant.call, _WARM_UP_CALLS)
                    gc.collect()
                    gc.disable()
                    sample.times_us.append(self._batch_us(variant.call, calls_a_round))
                    sample.garbage += gc.collect() / calls_a_round / rounds
                    gc.enable()
        return samples

    def count(self, variant: Variant) -> int:
        """How many Python functions one call enters, once it is warm; the resumption of a generator counts as one."""
        with variant.in_force():
            self._batch_us(variant.call, 2 * _WARM_UP_CALLS)
            if self._loop is None:
                return count_calls(variant.call)
            return self._loop.run_until_complete(_count_async(variant.call))

    def _batch_us(self, call: Call, calls: int) -> float:
        if self._loop is not None:
            return self._loop.run_until_complete(_async_batch_us(call, calls))
        start_ns = time.process_time_ns()
        for _ in repeat(None, calls):
            call()
        return (time.process_time_ns() - start_ns) / calls / 1_000


async def _async_batch_us(call: Call, calls: int) -> float:
    start_ns = time.process_time_ns()
    for _ in repeat(None, calls):
        await call()
    return (time.process_time_ns() - start_ns) / calls / 1_000


class CallCounter:
    """Counts the Python functions, and the resumptions of generators, that this thread enters while it is open."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Self:
        gc.disable()
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()
        self.calls -= 1  # this very function

    def _on_event(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.calls += event == "call"


def count_calls(call: Call) -> int:
    """How many Python functions one call enters."""
    with CallCounter() as counter:
        call()
    return counter.calls


async def _count_async(call: Call) -> int:
    with CallCounter() as counter:
        await call()
    return counter.calls


def paired(ours: list[float], base: list[float]) -> tuple[float, float]:
    """The median of the differences round by round, and how far off it may be (95 %), both in the unit given."""
    differences = [one - other for one, other in zip(ours, base, strict=True)]
    if len(differences) < 4:
        return statistics.median(differences), float("nan")
    low, _, high = statistics.quantiles(differences, n=4)
    return statistics.median(differences), 1.57 * (high - low) / len(differences) ** 0.5
