"""What `_spans` knows of the SDK: the releases, fields and processors that it can do without asking.

Whoever has a tracer of the SDK has imported the SDK, so nothing is imported here for anybody else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeVar

from opentelemetry import trace

from spanback._never_raise import never_raise

T = TypeVar("T")

_SDK: Final = "opentelemetry.sdk.trace"
_RELEASES: Final = {"1.45"}
_ATTRIBUTES: Final = {"_dict", "maxlen", "dropped", "max_value_len", "_lock", "_immutable"}
ENDED: Final = {
    "_name", "_context", "_kind", "_instrumentation_info", "_instrumentation_scope", "_parent", "_start_time",
    "_end_time", "_attributes", "_events", "_links", "_resource", "_status",
}  # fmt: skip
"""The fields of a span that has ended."""
OPEN: Final = {
    "_sampler", "_trace_config", "_record_exception", "_set_status_on_exception", "_span_processor", "_limits", "_lock",
    "_record_end_metrics",
}  # fmt: skip
"""Those that one has besides while it is open."""
_REPLACED: Final = {
    "Tracer": ("start_span",),
    "Span": ("__init__", "start", "end", "_readable_span", "_new_events", "_new_links", "get_span_context"),
    "ReadableSpan": ("__init__",),
    "SynchronousMultiSpanProcessor": ("on_start", "_on_ending", "on_end"),
    "BatchSpanProcessor": ("on_end",),
}
"""What `_spans` does in the SDK's place."""


def plain_sdk(tracer: Any) -> Any:
    """The SDK's module, where a tracer is its own, and everything that `_spans` does in its place is as it was made.

    Returns:
        None for all other tracers: of another make or release, with limits on the length of values, with a sampler that
        looks at attributes, with metrics of its own, or of an SDK that somebody has patched.
    """
    sdk: Any = sys.modules.get(_SDK)
    if sdk is None or type(tracer) is not sdk.Tracer or not is_known_release():
        return None
    from opentelemetry.sdk.trace import _tracer_metrics  # noqa: PLC0415 - as said above

    is_plain = (
        type(tracer.span_processor) is sdk.SynchronousMultiSpanProcessor
        and type(tracer._tracer_metrics) is _tracer_metrics.NoOpTracerMetrics
        and tracer._span_limits.max_span_attribute_length is None
        and _is_blind(tracer.sampler, sdk.sampling)
        and all(is_original(one) for one in _replaced(sdk))
    )
    return sdk if is_plain else None


def fields_of(tracer: Any, sdk: Any) -> dict[str, Any] | None:
    """The fields of a span that a tracer of the SDK would make, open and without anything in it.

    Returns:
        None where they are not those that this module knows.
    """
    probe = vars(
        sdk._Span(
            "",
            trace.INVALID_SPAN_CONTEXT,
            sampler=tracer.sampler,
            resource=tracer.resource,
            span_processor=tracer.span_processor,
            instrumentation_info=tracer.instrumentation_info,
            limits=tracer._span_limits,
            instrumentation_scope=tracer._instrumentation_scope,
        )
    )
    return probe if probe.keys() == ENDED | OPEN and vars(probe["_attributes"]).keys() == _ATTRIBUTES else None


def decisions_of(sampler: Any, sampling: Any) -> Sequence[bool] | None:
    """Whether a sampler takes a span without a parent, and then, for local and remote parents, not sampled and sampled.

    Returns:
        None where it must be asked of each span.
    """
    asked = [sampler] * 5
    if type(sampler) is sampling.ParentBased:
        asked = [
            sampler._root,
            sampler._local_parent_not_sampled,
            sampler._local_parent_sampled,
            sampler._remote_parent_not_sampled,
            sampler._remote_parent_sampled,
        ]
    always = {sampling.Decision.DROP: False, sampling.Decision.RECORD_AND_SAMPLE: True}
    known = [always[one._decision] for one in asked if type(one) is sampling.StaticSampler and one._decision in always]
    return known if len(known) == len(asked) else None


class Processors(NamedTuple):
    """A provider's processors, by what they do with spans of ours.

    Attributes:
        all: As the provider has them.
        starting: Those that do something as the span of a call starts.
        ending: Those that do something just before it ends.
        ended: Those that get it at its end, and into whose queue it goes at once where it is sampled.
        carried: Those that get a carrier of feedback; None where one does something before its end.
    """

    all: Any
    starting: Sequence[Any]
    ending: Sequence[Any]
    ended: Sequence[tuple[Any, Callable[[Any], None] | None]]
    carried: Sequence[Any] | None


def processors_by_use(processors: tuple[Any, ...], sdk: Any) -> Processors:
    """Sorts a provider's processors. Those of spanback say themselves what they need not see."""
    batch = sdk.export.BatchSpanProcessor
    quiet = {
        vars(kind).get(name)
        for kind in (sdk.SpanProcessor, batch, sdk.export.SimpleSpanProcessor)
        for name in ("on_start", "_on_ending")
    }

    def acts(processor: Any, name: str) -> bool:
        return name in getattr(processor, "__dict__", ()) or getattr(type(processor), name, None) not in quiet

    def queue_of(processor: Any) -> Callable[[Any], None] | None:
        is_plain = type(processor) is batch and "on_end" not in vars(processor)
        return processor._batch_processor.emit if is_plain else None

    calls = [one for one in processors if getattr(one, "skips_calls", None) is not True]
    carriers = [one for one in processors if getattr(one, "skips_carriers", None) is not True]
    acting = [one for one in carriers if acts(one, "on_start") or acts(one, "_on_ending")]
    return Processors(
        all=processors,
        starting=[one for one in calls if acts(one, "on_start")],
        ending=[one for one in acting if acts(one, "_on_ending")],
        ended=[(one, queue_of(one)) for one in calls],
        carried=None if acting else carriers,
    )


def of_last(make: Callable[[Any], T | None]) -> Callable[[Any], T | None]:
    """A function that remembers what it made last: an app has one provider, and so one tracer and one logger of ours.

    Args:
        make: Makes it of a tracer or a logger; where it raises, that counts as None.
    """
    last: tuple[Any, T | None] = (None, None)

    def of(one: Any) -> T | None:
        nonlocal last
        found = last
        if found[0] is not one:
            last = found = one, never_raise(make, one)
        return found[1]

    return of


def is_known_release() -> bool:
    """Whether the SDK is of a release whose ways are known. To be asked where there is one."""
    from opentelemetry.sdk.version import __version__ as version  # noqa: PLC0415 - as said above

    return version.rpartition(".")[0] in _RELEASES


def _replaced(sdk: Any) -> list[Any]:
    from opentelemetry.sdk.trace import export  # noqa: PLC0415 - as said above

    owners = [getattr(sdk, name, None) or getattr(export, name) for name in _REPLACED]
    return [vars(owner).get(name) for owner, names in zip(owners, _REPLACED.values(), strict=True) for name in names]


def is_original(function: Any) -> bool:
    """Whether it is one of OpenTelemetry's functions, and not what somebody has put around it."""
    is_theirs = type(function) is FunctionType and function.__module__.startswith("opentelemetry.")
    return is_theirs and not hasattr(function, "__wrapped__")


def _is_blind(sampler: Any, sampling: Any) -> bool:
    """Whether a sampler decides by trace and parent alone."""
    if isinstance(sampler, sampling.ParentBased):
        own = "should_sample" in vars(type(sampler)) and type(sampler) is not sampling.ParentBased
        return not own and all(_is_blind(one, sampling) for one in vars(sampler).values())
    return type(sampler) in {sampling.StaticSampler, sampling.TraceIdRatioBased}
