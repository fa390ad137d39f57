"""Feedback as metrics: how much of it, and how good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Meter

from spanback import semconv
from spanback.feedback._model import Feedback

_BOUNDARIES: Final = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)


class _Instruments(NamedTuple):
    meter: Meter
    signals: Counter
    scores: Histogram


class _Last:
    """The instruments of the last meter: an app has one meter provider."""

    instruments: _Instruments | None = None


def measure(meter: Meter, feedback: Feedback, dimensions: Mapping[str, str], context: Context) -> None:
    """Adds a signal to the metrics.

    Args:
        meter: The app's meter.
        feedback: The signal.
        dimensions: What is known of the rated span; its provider and model become attributes.
        context: With the rated span as current, so that exemplars lead to it.
    """
    instruments = _Last.instruments
    if instruments is None or instruments.meter is not meter:
        instruments = _Last.instruments = _create(meter)
    attributes = {
        semconv.FEEDBACK_NAME: feedback.name,
        semconv.FEEDBACK_SOURCE: feedback.source,
        semconv.FEEDBACK_TYPE: feedback.type,
    }
    for key in (semconv.GEN_AI_PROVIDER_NAME, semconv.GEN_AI_REQUEST_MODEL):
        if key in dimensions:
            attributes[key] = dimensions[key]
    instruments.signals.add(1, attributes, context)
    if feedback.score is not None:
        # Histograms take no negative amounts: the SDK drops them with a warning each.
        instruments.scores.record((feedback.score + 1.0) / 2.0, attributes, context)


def _create(meter: Meter) -> _Instruments:
    return _Instruments(
        meter,
        meter.create_counter(semconv.METRIC_FEEDBACK_COUNT, "{signal}", "Feedback signals."),
        meter.create_histogram(
            semconv.METRIC_FEEDBACK_SCORE_NORMALIZED,
            "1",
            "Scores of feedback, mapped from -1..1 to 0..1 since histograms take no negative amounts.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        ),
    )
