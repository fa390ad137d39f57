"""What the telemetry of a demo says, read back from its files alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spanback.reading import Feedback, ModelSummary, RatedCall, TelemetryFiles

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ModelRow:
    """One model of the summary.

    Attributes:
        model: The response's model; the requested one where no call to it was answered.
        calls: How many calls were made.
        errors: How many of them failed.
        signals: How many signals there are on them.
        mean_score: Mean of the explicit scores; None without one.
        weighted_mean_score: Mean of the explicit scores by their weights; None without one.
        implicit_mean_score: Mean of the implicit scores; None without one.
    """

    model: str
    calls: int
    errors: int
    signals: int
    mean_score: float | None
    weighted_mean_score: float | None
    implicit_mean_score: float | None


@dataclass(frozen=True)
class Report:
    """What was read.

    Attributes:
        calls: Every call in the order of its start, with its signals, which may be none.
        models: The summary, by model.
        signals: How many signals were read.
    """

    calls: tuple[RatedCall, ...]
    models: tuple[ModelRow, ...]
    signals: int


def read_report(folder: Path) -> Report:
    """Reads the telemetry files of a folder. Raises FileNotFoundError where there is no such folder."""
    signals: defaultdict[str | None, list[Feedback]] = defaultdict(list)
    with TelemetryFiles([folder]) as files:
        calls = sorted(files.calls(), key=lambda call: call.start_time_ns)
        for signal in files.feedback():
            signals[signal.span_id].append(signal)
        summaries = {(summary.model, summary.type): summary for summary in files.summary()}
    rated = tuple(RatedCall(call, tuple(signals[call.span_id])) for call in calls)
    return Report(rated, _rows(rated, summaries), sum(map(len, signals.values())))


def _rows(calls: tuple[RatedCall, ...], summaries: dict[tuple[str | None, str], ModelSummary]) -> tuple[ModelRow, ...]:
    """A failed call has no response model, so it counts for the model that answered other calls of its kind."""
    made = [rated.call for rated in calls if rated.call]
    answered_by = {call.request_model: call.response_model for call in made if call.response_model}
    models = [call.response_model or answered_by.get(call.request_model) or call.request_model for call in made]
    counts = Counter(models)
    errors = Counter(model for model, call in zip(models, made, strict=True) if call.error_type)
    nothing = ModelSummary(None, "explicit", 0, 0, 0, None, None)
    found = {
        model: [summaries.get((model, type_), nothing) for type_ in ("explicit", "implicit")] for model in set(models)
    }
    return tuple(
        ModelRow(
            model=model or "unknown",
            calls=counts[model],
            errors=errors[model],
            signals=sum(of_type.signals for of_type in found[model]),
            mean_score=found[model][0].mean_score,
            weighted_mean_score=found[model][0].weighted_mean_score,
            implicit_mean_score=found[model][1].mean_score,
        )
        for model in sorted(counts, key=str)
    )
