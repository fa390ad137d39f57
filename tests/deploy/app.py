"""An app whose feedback is known exactly: it prints every signal that it gave, with what it was given on, as JSON.

    python -m tests.deploy.app 40

Where telemetry goes is said by the `OTEL_*` variables alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import openai

import spanback
from spanback.demo._loopback import LoopbackServer

MODELS = ("gpt-4o-mini", "gpt-4.1", "gpt-4o-mini")
VARIANTS = {0: "warm", 2: "terse"}
VERSIONS = ("3", "3", "4", "4", "4")


def signals(number: int, now: datetime) -> Iterator[dict[str, Any]]:
    """What users and raters say of one call; version 4 of the prompt is the better one, and raters differ."""
    version_4 = VERSIONS[number % len(VERSIONS)] == "4"
    weeks_ago = timedelta(days=7 * (number % 4), minutes=1)
    liked = (number % 7 > 1) if version_4 else (number % 3 == 0)
    yield {
        "name": "user_thumbs",
        "score": 1.0 if liked else -1.0,
        "weight": 0.8,
        "user_id": f"user-{number}",
        "label": "good" if liked else "wrong",
        "comment": None if liked else f"Not what I asked for, said of call {number}.",
        "observed_at": now - weeks_ago,
    }
    if number % 2:
        yield {
            "name": "copied" if number % 5 else "dismissed",
            "score": (0.5 if number % 4 == 1 else 0.25) * (1 if number % 5 else -1),
            "weight": 0.4,
            "type": "implicit",
            "observed_at": now - weeks_ago,
        }
    if number % 3 == 0:
        for rater in range(2 + number % 2):
            yield {
                "name": "factual_accuracy",
                "rating": 1 + (number + rater * (number % 4)) % 5,
                "scale": (1, 5),
                "rater_id": f"rater-{rater}",
                "criterion": "capital",
            }
    if number % 4 == 0:  # a second thought: only the last of an id holds
        yield {"name": "stars", "rating": 5, "scale": (1, 5), "feedback_id": f"stars-{number}"}
        yield {
            "name": "stars",
            "rating": 2,
            "scale": (1, 5),
            "feedback_id": f"stars-{number}",
            "improvement": {"answer": number},
            "metadata": {"page": "checkout", "retries": number},
        }


def call(client: openai.OpenAI, number: int) -> spanback.SpanRef:
    """One model call, with the prompt that it was made from."""
    model = MODELS[number % len(MODELS)]
    message = {"role": "user", "content": f"What is the capital of Australia? ({number})"}
    version = VERSIONS[number % len(VERSIONS)]
    # Every other call is part of an experiment.
    tried: dict[str, Any] = (
        {} if number % 2 else {"experiment": "tone", "variant": VARIANTS[number % 4], "tags": ["beta", "de"]}
    )
    with spanback.context(prompt_name="travel", prompt_version=version, conversation_id=f"trip-{number}", **tried):
        ref = spanback.reference(client.chat.completions.create(model=model, messages=[message]))
    assert ref is not None
    return ref


def given(client: openai.OpenAI, count: int) -> Iterator[dict[str, Any]]:
    """Makes the calls and gives the feedback."""
    now = datetime.now(timezone.utc)
    refs = [call(client, number) for number in range(count)]
    for number, ref in enumerate(refs):
        for signal in signals(number, now):
            receipt = spanback.record_feedback(ref, **signal)
            yield told(receipt, ref, signal) | {"number": number}
        if number % 10 == 9:  # given, and withdrawn
            yield told(spanback.retract_feedback(receipt), ref, signal | {"action": "retract"}) | {"number": number}
    best, *others = refs[:3]
    preferred: dict[str, Any] = {"name": "side_by_side", "user_id": "user-0", "comment": "The tone."}
    yield told(spanback.record_preference(best, others, **preferred), best, preferred)
    unknown = {"name": "user_thumbs", "score": -1.0}
    yield told(spanback.record_feedback("no-such-response", **unknown), None, unknown)


def told(receipt: spanback.Receipt, ref: spanback.SpanRef | None, signal: dict[str, Any]) -> dict[str, Any]:
    """One signal for the test that started this app."""
    rating, scale = signal.get("rating"), signal.get("scale")
    return {
        "feedback_id": receipt.feedback_id,
        "carrier_span_id": receipt.span_id,
        "trace_id": f"{ref.trace_id:032x}" if ref else "",
        "span_id": f"{ref.span_id:016x}" if ref else "",
        "name": signal["name"],
        "action": signal.get("action", "set"),
        "score": (rating - 3) / 2 if scale else signal.get("score"),
        "rating": rating,
        "weight": signal.get("weight", 1.0),
        "type": signal.get("type", "explicit"),
        "user": signal.get("user_id"),
        "rater": signal.get("rater_id"),
        "criterion": signal.get("criterion", ""),
        "label": signal.get("label", ""),
        "comment": signal.get("comment") or "",
        "improvement": signal.get("improvement"),
        "metadata": signal.get("metadata", {}),
        "observed_at": signal["observed_at"].isoformat() if "observed_at" in signal else None,
        "model": ref.request_model if ref else "",
        "response_model": ref.response_model if ref else "",
        "prompt_version": ref.prompt_version if ref else "",
        "experiment": (ref.experiment if ref else None) or "",
        "variant": (ref.variant if ref else None) or "",
        "tags": list(ref.tags) if ref else [],
        "conversation_id": ref.conversation_id if ref else "",
        "resolved": ref is not None,
    }


def main(count: int) -> None:
    """Runs the calls and prints the signals."""
    spanback.instrument(capture_content=True)
    with LoopbackServer() as server, openai.OpenAI(base_url=server.base_url, api_key="not-needed") as client:
        signals_given = list(given(client, count))
    if not spanback.flush(20):
        sys.exit("not all telemetry was taken")
    print(json.dumps(signals_given))


if __name__ == "__main__":
    main(int(sys.argv[1]))
