"""Random input of every kind to every function that takes feedback: it is refused, or a well-formed record comes of it.

    python -m tests.feedback.fuzz --count 1000000 --seed 1
    python -m tests.feedback.fuzz --seed 1 --only 4711

Each input follows from the seed and its number alone, so that one that breaks the rule can be tried again by itself.
"""

from __future__ import annotations

import argparse
import inspect
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import spanback
from spanback import InvalidBatch, InvalidFeedback, Receipt, _settings, signals
from spanback._settings import Settings
from spanback._telemetry import TELEMETRY
from spanback.feedback._declared import DECLARED
from spanback.testing import capture, fake_ref
from tests.feedback.hostile import (
    Hostile,
    HostileFloat,
    HostileInt,
    HostileList,
    HostileMapping,
    HostileText,
    HostileZone,
    Unbound,
)

SECRET = "s3cret"  # in every user id, rater id and key, and nowhere else
ENCODED_EACH = 50
NAMES = ("user_thumbs", "stars", "a.b-c_9", "preference", "declared")


class Response:
    """A client's response that nobody has seen."""

    def __init__(self, response_id: Any) -> None:
        self.id = response_id
        self.model = response_id


Make = Callable[[random.Random], Any]

JUNK: tuple[Make, ...] = (
    lambda r: None,
    lambda r: r.choice([True, False]),
    lambda r: r.randint(-3, 70),
    lambda r: r.choice([2**63, -(2**63) - 1, 10**400, 10**5_000, 2**53 + 1]),
    lambda r: r.uniform(-2, 2),
    lambda r: r.choice([math.nan, math.inf, -math.inf, -0.0, 1e-320, 1e308, 1j]),
    lambda r: "".join(r.choices("aZ09_.- \n\t\0é漢\U0001f44d\ud83d\u202e\u2028", k=r.randint(0, 12))),
    lambda r: r.choice("aé漢\U0001f44d") * r.choice([1, 64, 65, 128, 256, 257, 4_097, 16_385, 65_537]),
    lambda r: bytes(r.randbytes(r.randint(0, 5))),
    lambda r: [anything(r) for _ in range(r.randint(0, 3))],
    lambda r: tuple(anything(r) for _ in range(r.randint(0, 3))),
    lambda r: {text(r): anything(r) for _ in range(r.randint(0, 3))},
    lambda r: {r.randint(0, 3): anything(r)},
    lambda r: {1, "a"},
    lambda r: Hostile(),
    lambda r: HostileText("user_thumbs"),
    lambda r: HostileText("a\nb"),
    lambda r: HostileMapping(a=1),
    lambda r: HostileList([1, 5]),
    lambda r: HostileInt(r.randint(-1, 3)),
    lambda r: HostileFloat(r.choice([0.5, 7.0, math.nan])),
    lambda r: Response(text(r)),
    lambda r: Response(Hostile()),
    lambda r: object(),
    lambda r: int,
    lambda r: len,
    lambda r: iter([1]),
    lambda r: date(2025, 3, 1),
    lambda r: datetime(2025, 3, 1, tzinfo=r.choice([None, timezone.utc, HostileZone()])),
    lambda r: datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    lambda r: cyclic(),
)


def cyclic() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


def anything(r: random.Random) -> Any:
    """A value of any kind."""
    return r.choice(JUNK)(r)


def text(r: random.Random) -> str:
    """A text of any kind."""
    return "".join(r.choices("aZ09_.- \n\0é\U0001f44d\ud83d", k=r.randint(0, 9)))


def ref(r: random.Random) -> Any:
    """A reference, also one that an app has made of anything."""
    made = fake_ref(span_id=r.randint(1, 5), response_id=r.choice(["r-1", "r-2", None, text(r)]))
    if r.random() < 0.3:
        junk = {name: anything(r) for name in r.sample([*made.__slots__], 2)}
        made = replace(made, **junk)
    return made


TARGETS: tuple[Make, ...] = (
    ref,
    ref,
    lambda r: f"r-{r.randint(0, 3)}",
    lambda r: fake_ref(span_id=r.randint(1, 5)).traceparent,
    lambda r: f"00-{0:032x}-{0:016x}-00",
    lambda r: SpanContext(r.randint(0, 3), r.randint(0, 3), is_remote=True, trace_flags=TraceFlags(r.randint(0, 1))),
    lambda r: NonRecordingSpan(SpanContext(1, 2, is_remote=False)),
    lambda r: Response(f"r-{r.randint(0, 3)}"),
    lambda r: {"id": f"r-{r.randint(0, 3)}"},
    lambda r: Unbound(),
    lambda r: {"id": anything(r), "ResponseMetadata": {"RequestId": text(r)}},
)

PRESETS = [one for one in vars(signals).values() if isinstance(one, signals.Signal)]

# What an argument of each name usually is; where there is nothing else, any value.
USUAL: dict[str, Make] = {
    "target": lambda r: r.choice(TARGETS)(r),
    "signal": lambda r: r.choice(PRESETS),
    "score": lambda r: r.uniform(-1, 1),
    "rating": lambda r: r.randint(1, 5),
    "scale": lambda r: r.choice([(1, 5), [1, 5], (0, 10)]),
    "scores": lambda r: (0, 1),
    "name": lambda r: r.choice(NAMES),
    "criterion": lambda r: r.choice(NAMES),
    "weight": lambda r: r.random(),
    "source": lambda r: r.choice(["user", "system"]),
    "type": lambda r: r.choice(["explicit", "implicit"]),
    "label": lambda r: r.choice(["good", "bad", "é" * 128]),
    "labels": lambda r: ["good", "bad"],
    "description": lambda r: "what it means",
    "comment": lambda r: r.choice(["Right!", "two\nlines", "é" * 8_192]),
    "improvement": lambda r: r.choice(["text", {"a": [1, None]}, False]),
    "metadata": lambda r: {"page": r.choice(["chat", 1, 0.5, True]), text(r): "x"},
    "user_id": lambda r: f"user {SECRET} {r.randint(0, 3)}",
    "rater_id": lambda r: f"rater {SECRET} {r.randint(0, 3)}",
    "feedback_id": lambda r: f"f-{r.randint(0, 9)}",
    "observed_at": lambda r: datetime(2025, 3, r.randint(1, 28), tzinfo=timezone.utc),
    "placement": lambda r: r.choice(["auto", "child", "linked"]),
    "scope": lambda r: r.choice(["response", "span", "trace"]),
    "conversation_id": lambda r: f"c-{r.randint(0, 3)}",
    "choice": lambda r: r.randint(0, 3),
    "chosen_choice": lambda r: r.randint(0, 3),
    "rejected_choice": lambda r: r.choice([r.randint(0, 3), [r.randint(0, 3), None], [1, 2]]),
    "tool_call_id": lambda r: f"call-{r.randint(0, 3)}",
    "document_id": lambda r: f"d-{r.randint(0, 3)}",
    "original": lambda r: "The Mona Lisa",
    "final": lambda r: "The Mona Lisa, of course",
}
for side in ("chosen", "rejected", "old", "new"):
    USUAL[side] = USUAL["target"]


def argument(r: random.Random, name: str, wildness: float) -> Any:
    """A value for an argument: as a rule a right one, now and then any."""
    if r.random() < wildness or name not in USUAL:
        return anything(r)
    value = USUAL[name](r)
    return [value, USUAL["target"](r)] if name == "rejected" and r.random() < 0.3 else value


def arguments(r: random.Random, function: Callable[..., Any], rate: float) -> dict[str, Any]:
    """Some of the arguments of a function; those that it needs in any case."""
    wildness = r.choice([0.0, 0.0, 0.05, 0.3, 1.0])
    given = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is parameter.empty or r.random() < rate:
            given[name] = argument(r, name, wildness)
    if "rating" in given or "scale" in given:
        given.pop("score", None)
        if function is spanback.record_feedback and r.random() < 0.9:
            given = {"rating": argument(r, "rating", wildness), "scale": argument(r, "scale", wildness), **given}
    return given


def one(r: random.Random) -> dict[str, Any]:
    """The arguments of record_feedback: as a rule few, since many seldom go together, about something."""
    given = arguments(r, spanback.record_feedback, r.choice([0.02, 0.08, 0.25]))
    if "conversation_id" not in given and r.random() < 0.9:
        given.setdefault("target", ref(r))
    if given.keys().isdisjoint(("score", "rating", "label", "comment", "improvement")) and r.random() < 0.9:
        given.setdefault("signal", r.choice(PRESETS))
    return given


def many(r: random.Random) -> dict[str, Any]:
    """The arguments of record_many."""
    if r.random() < 0.1:
        return {"items": anything(r), "progress": r.choice([None, True, anything(r)])}
    items: list[Any] = [
        arguments(r, spanback.record_feedback, r.choice([0.0, 0.1, 0.3])) for _ in range(r.randint(0, 3))
    ]
    if r.random() < 0.5:
        items = [{"target": ref(r), "signal": r.choice(PRESETS), **item} for item in items]
    if r.random() < 0.1:
        items.append(anything(r))
    return {"items": items}


CALLS: tuple[tuple[int, Callable[..., Any], Callable[[random.Random], dict[str, Any]]], ...] = (
    (10, spanback.record_feedback, one),
    (4, spanback.record_preference, lambda r: arguments(r, spanback.record_preference, 0.25)),
    (4, spanback.retract_feedback, lambda r: arguments(r, spanback.retract_feedback, 0.4)),
    (2, spanback.record_many, many),
    (1, spanback.declare, lambda r: arguments(r, spanback.declare, 0.3)),
    (1, spanback.reference, lambda r: {"target": argument(r, "target", 0.5)}),
    (1, signals.Signal, lambda r: arguments(r, signals.Signal, 0.5)),
    (1, signals.edited, lambda r: arguments(r, signals.edited, 1.0)),
    (2, signals.regenerated, lambda r: arguments(r, signals.regenerated, 0.4)),
)
_WEIGHTS = [weight for weight, _, _ in CALLS]


class Checking(SpanProcessor):
    """Looks at each carrier as it ends."""

    def __init__(self) -> None:
        self.ended = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Nothing to see yet."""

    def on_end(self, span: ReadableSpan) -> None:
        """Notes what is wrong; what a processor raises would be swallowed."""
        self.ended += 1
        PROBLEMS.extend(_problems(span, encoded=self.ended % ENCODED_EACH == 0))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Holds nothing."""
        return True


PROBLEMS: list[str] = []


def _problems(span: ReadableSpan, *, encoded: bool) -> Iterator[str]:
    said: Mapping[str, Any] = span.attributes or {}
    for name in ("feedback.id", "feedback.action", "feedback.name", "feedback.weight", "feedback.target.resolved"):
        if name not in said:
            yield f"without {name}"
    if len(span.events) != 1 or span.name != f"feedback {said.get('feedback.name')}":
        yield f"events {len(span.events)}, name {span.name!r}"
    is_on_span = said["feedback.target.resolved"] and said["feedback.target.scope"] != "conversation"
    if "feedback.rejected.span_ids" not in said and len(span.links) != is_on_span:
        yield f"links {len(span.links)}"
    if not -1.0 <= said.get("feedback.score", 0.0) <= 1.0:
        yield f"score {said['feedback.score']}"
    pairs = [*said.items(), *((span.events[0].attributes or {}).items() if span.events else ())]
    yield from (f"{name} is {value}" for name, value in pairs if isinstance(value, float) and not math.isfinite(value))
    whole = repr((span.name, dict(said), [dict(event.attributes or {}) for event in span.events], span.links))
    if SECRET in whole:
        yield "a raw id or a key in a span"
    whole.encode()
    if encoded:
        encode_spans([span]).SerializeToString()


def attempt(seed: int, number: int) -> str:
    """Makes one call, which must be refused or recorded.

    Returns:
        The function's name and what came of it.

    Raises:
        AssertionError: Something else came of it.
        Exception: What the function raised and must not.
    """
    r = random.Random(f"{seed}:{number}")
    ((_, function, make),) = r.choices(CALLS, _WEIGHTS)
    given = make(r)
    PROBLEMS.clear()
    outcome = "made"
    try:
        result = function(**given)
    except (InvalidFeedback, InvalidBatch):
        outcome, result = "refused", None
    for receipt in result if isinstance(result, (list, tuple)) else [result]:
        if isinstance(receipt, Receipt):
            assert receipt.status in {"recorded", "unresolved"}, receipt
            assert SECRET not in repr(receipt)
            outcome = "recorded"
    assert not PROBLEMS, PROBLEMS
    return f"{function.__name__} {outcome}"


def redact(field: str, value: Any) -> Any:
    """An app's function that fails now and then."""
    return None if len(str(value)) % 7 == 0 else value if len(str(value)) % 5 else {}


def run(seed: int, numbers: range, tell: Callable[[int], None] = lambda done: None) -> Counter[str]:
    """Makes a number of calls with providers in memory; gives how often what came of them."""
    before = dict(DECLARED)
    settings = Settings()._replace(feedback_content=True, user_hash_key=SECRET.encode(), redact=redact, emit="both")
    outcomes: Counter[str] = Counter()
    with capture() as telemetry:
        _settings.use(settings)
        telemetry.tracer_provider.add_span_processor(Checking())
        assert TELEMETRY.tracer() is not None
        spanback.declare("declared", scale=(1, 5), labels=["good"], scores=(-0.5, 1))
        for number in numbers:
            try:
                outcomes[attempt(seed, number)] += 1
            except BaseException:
                sys.stderr.write(f"number {number} of seed {seed} broke the rule\n")
                raise
            if number % 1_000 == 0:
                telemetry.clear()
                tell(number)
    DECLARED.clear()
    DECLARED.update(before)
    return outcomes


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this one alone")
    given = parser.parse_args()
    numbers = range(given.count) if given.only is None else range(given.only, given.only + 1)
    since_s = time.monotonic()

    def tell(done: int) -> None:
        if sys.stderr.isatty() or done % 100_000 == 0:
            sys.stderr.write(f"\r{done:,} of {len(numbers):,}, {time.monotonic() - since_s:.0f} s")

    outcomes = run(given.seed, numbers, tell)
    sys.stderr.write("\n")
    for outcome, count in sorted(outcomes.items()):
        sys.stdout.write(f"{outcome:30} {count:10,}\n")
    refused = sum(count for outcome, count in outcomes.items() if outcome.endswith("refused"))
    sys.stdout.write(f"{len(numbers):,} inputs: {refused:,} refused, {len(numbers) - refused:,} well formed, 0 else\n")


if __name__ == "__main__":
    main()
