"""Feedback as metrics: how much of it, and how good; by few attributes, and by not too many values of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from spanback import semconv
from spanback._series import BoundedSeries, Values
from spanback.feedback._model import Feedback

_BOUNDARIES: Final = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_DIMENSIONS: Final = (
    semconv.GEN_AI_PROVIDER_NAME,
    semconv.GEN_AI_REQUEST_MODEL,
    semconv.GEN_AI_PROMPT_NAME,
    semconv.GEN_AI_PROMPT_VERSION,
)
_TOO_MANY: Final = (
    "Feedback came in more than %d combinations of signal name, model and prompt version. In metrics, further ones are "
    "told apart by source and type alone (otel.metric.overflow); spans and log events are not affected. Is one of "
    "these names made anew for each call? Said once."
)

Attributes = dict[str, str | int | bool]


def _attributes(values: Values) -> Attributes:
    names = (semconv.FEEDBACK_NAME, semconv.FEEDBACK_SOURCE, semconv.FEEDBACK_TYPE, *_DIMENSIONS)
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


class _Instruments:
    """The instruments of one meter, and the combinations of attributes that they have had so far."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.signals = meter.create_counter(semconv.METRIC_FEEDBACK_COUNT, "{signal}", "Feedback signals.")
        self.scores = meter.create_histogram(
            semconv.METRIC_FEEDBACK_SCORE_NORMALIZED,
            "1",
            "Scores of feedback, mapped from -1..1 to 0..1 since histograms take no negative amounts.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._series = BoundedSeries(_attributes, logging.getLogger("spanback.feedback"), _TOO_MANY)

    def attributes(self, feedback: Feedback, dimensions: Mapping[str, str]) -> Attributes:
        """The attributes of a signal; of one too many only what has few values, and that there were too many."""
        values = (feedback.name, feedback.source, feedback.type, *map(dimensions.get, _DIMENSIONS))
        return self._series.get(values) or {
            semconv.FEEDBACK_SOURCE: feedback.source,
            semconv.FEEDBACK_TYPE: feedback.type,
            semconv.OTEL_METRIC_OVERFLOW: True,
        }


class _Last:
    """The instruments of the last meter: an app has one meter provider."""

    instruments: _Instruments | None = None


def measure(meter: Meter, feedback: Feedback, dimensions: Mapping[str, str], context: Context) -> None:
    """Adds a signal to the metrics.

    Args:
        meter: The app's meter.
        feedback: The signal.
        dimensions: What is known of the rated span; provider, model and prompt become attributes.
        context: With the rated span as current, so that exemplars lead to it.
    """
    instruments = _Last.instruments
    if instruments is None or instruments.meter is not meter:
        instruments = _Last.instruments = _Instruments(meter)
    attributes = instruments.attributes(feedback, dimensions)
    instruments.signals.add(1, attributes, context)
    if feedback.score is not None:
        # Histograms take no negative amounts: the SDK drops them with a warning each.
        instruments.scores.record((feedback.score + 1.0) / 2.0, attributes, context)
