"""The conventions' client metrics, by not too many values of their attributes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from opentelemetry.metrics import Meter

from spanback import semconv as sc
from spanback._series import BoundedSeries, Values
from spanback.instrumentation._adapter import Attributes

# The conventions' explicit bucket boundaries.
DURATION_BUCKETS_S: Sequence[float] = tuple(0.01 * 2**power for power in range(14))
TOKEN_BUCKETS: Sequence[float] = tuple(float(4**power) for power in range(14))
TOKENS_LIMIT: Final = 1 << 40
"""Of one call, beyond which a server's word is not taken: a sum of more than 64 bits would end all metrics for good."""

_DIMENSIONS = (
    sc.GEN_AI_OPERATION_NAME,
    sc.GEN_AI_PROVIDER_NAME,
    sc.GEN_AI_REQUEST_MODEL,
    sc.GEN_AI_RESPONSE_MODEL,
    sc.SERVER_ADDRESS,
    sc.SERVER_PORT,
    sc.ERROR_TYPE,
)
_USAGE = (
    (sc.GEN_AI_USAGE_INPUT_TOKENS, sc.METRIC_INFERENCE_USAGE_INPUT_TOKENS, True),
    (sc.GEN_AI_USAGE_OUTPUT_TOKENS, sc.METRIC_INFERENCE_USAGE_OUTPUT_TOKENS, True),
    (sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, sc.METRIC_INFERENCE_USAGE_CACHE_READ_INPUT_TOKENS, False),
    (sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, sc.METRIC_INFERENCE_USAGE_CACHE_WRITE_INPUT_TOKENS, False),
    (sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, sc.METRIC_INFERENCE_USAGE_REASONING_OUTPUT_TOKENS, False),
)
_OTHER_ERROR: Final = "_OTHER"
_TOO_MANY: Final = (
    "Calls came in more than %d combinations of model, server address and error. In metrics, further ones are told "
    "apart by operation, provider and failure alone (otel.metric.overflow); spans are not affected. Is a model named "
    "anew for each call? Said once."
)


_Dimensions = tuple[Attributes, Attributes]
"""The attributes of a call's measurements, and of those of its tokens. Both are kept, by exemplars too: nobody may
change them."""


def _dimensions(values: Values) -> _Dimensions:
    return _with_tokens({name: value for name, value in zip(_DIMENSIONS, values, strict=True) if value is not None})


def _with_tokens(of_call: Attributes) -> _Dimensions:
    # Which part of the tokens was text or an image is not told by most providers, and is not guessed.
    of_tokens = {**of_call, sc.GEN_AI_TOKEN_MODALITY: "unknown"}
    of_tokens.pop(sc.ERROR_TYPE, None)
    return of_call, of_tokens


def _overflow(attributes: Attributes) -> _Dimensions:
    """What has few values, and that there were too many: an error is told without its type."""
    of_call: dict[str, Any] = {
        name: attributes[name] for name in (sc.GEN_AI_OPERATION_NAME, sc.GEN_AI_PROVIDER_NAME) if name in attributes
    }
    if sc.ERROR_TYPE in attributes:
        of_call[sc.ERROR_TYPE] = _OTHER_ERROR
    of_call[sc.OTEL_METRIC_OVERFLOW] = True
    return _with_tokens(of_call)


class ClientMetrics:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, description: str) -> Any:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S
            )

        def tokens(name: str, description: str) -> Any:
            return meter.create_histogram(
                name, "{token}", description, explicit_bucket_boundaries_advisory=TOKEN_BUCKETS
            )

        self._inference_s = seconds(sc.METRIC_INFERENCE_DURATION, "Duration of an inference call")
        self._operation_s = seconds(sc.METRIC_OPERATION_DURATION, "Duration of a GenAI call that is no inference")
        self._first_chunk_s = seconds(sc.METRIC_INFERENCE_TIME_TO_FIRST_CHUNK, "Time to the first chunk of a stream")
        self._next_chunk_s = seconds(sc.METRIC_INFERENCE_TIME_PER_OUTPUT_CHUNK, "Time between chunks of a stream")
        self._input_tokens = tokens(sc.METRIC_INFERENCE_OPERATION_INPUT_TOKENS, "Input tokens of a call")
        self._output_tokens = tokens(sc.METRIC_INFERENCE_OPERATION_OUTPUT_TOKENS, "Output tokens of a call")
        self._usage = [
            (attribute, meter.create_counter(name, "{token}", "Tokens used"), is_always)
            for attribute, name, is_always in _USAGE
        ]
        self._series = BoundedSeries(_dimensions, logging.getLogger("spanback.instrumentation"), _TOO_MANY)

    def _dimensions_of(self, attributes: Attributes) -> _Dimensions:
        return self._series.get(tuple(map(attributes.get, _DIMENSIONS))) or _overflow(attributes)

    def record(self, attributes: Attributes, duration_s: float, is_inference: bool, context: Any) -> None:
        """Counts one call that has ended.

        Args:
            attributes: All attributes of the call's span.
            duration_s: From the call to its end, for a stream to the end of the stream.
            is_inference: Whether the call generates content.
            context: The context that holds the call's span, for exemplars.
        """
        dimensions, of_tokens = self._dimensions_of(attributes)
        if not is_inference:
            self._operation_s.record(duration_s, dimensions, context)
            return
        self._inference_s.record(duration_s, dimensions, context)
        first_chunk_s = attributes.get(sc.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
        if first_chunk_s is not None:
            self._first_chunk_s.record(first_chunk_s, dimensions, context)
        for attribute, histogram in (
            (sc.GEN_AI_USAGE_INPUT_TOKENS, self._input_tokens),
            (sc.GEN_AI_USAGE_OUTPUT_TOKENS, self._output_tokens),
        ):
            if 0 <= attributes.get(attribute, -1) <= TOKENS_LIMIT:
                histogram.record(attributes[attribute], dimensions, context)
        for attribute, counter, is_always in self._usage:
            tokens = attributes.get(attribute, 0)
            if (tokens or is_always) and 0 <= tokens <= TOKENS_LIMIT:
                counter.add(tokens, of_tokens, context)

    def record_chunks(self, attributes: Attributes, times_s: Sequence[float], context: Any) -> None:
        """Records the time between each two chunks of a stream.

        Args:
            attributes: All attributes of the call's span.
            times_s: When each chunk came, in seconds of one clock.
            context: The context that holds the call's span, for exemplars.
        """
        dimensions, _ = self._dimensions_of(attributes)
        for before, after in pairwise(times_s):
            self._next_chunk_s.record(after - before, dimensions, context)


_metrics_by_meter: Final[dict[int, tuple[Meter, ClientMetrics]]] = {}


def metrics_of(meter: Meter) -> ClientMetrics:
    """The instruments of a meter, made once. Only those of the last meter are kept."""
    known = _metrics_by_meter.get(id(meter))
    if known is None or known[0] is not meter:
        _metrics_by_meter.clear()
        known = _metrics_by_meter[id(meter)] = (meter, ClientMetrics(meter))
    return known[1]
