"""An app of another process: 1,000 signals of every kind on calls of a scripted model, some of them replaced, some withdrawn.

    python -m tests.backends.many_signals

Where telemetry goes is said by the `OTEL_*` variables alone.
"""

from __future__ import annotations

from datetime import datetime, timezone

import openai

import spanback
from spanback import signals
from spanback.demo._loopback import LoopbackServer

SIGNALS = 1_000
LONG_BYTES = 3_000
"""Longer than Tempo keeps."""


def main() -> None:
    """Makes 200 calls, and five signals on each; 8 withdrawals come on top."""
    spanback.instrument(capture_content=True)
    message = {"role": "user", "content": "Where can I eat vegetarian near the station?"}
    with LoopbackServer() as server, openai.OpenAI(base_url=server.base_url, api_key="not-needed") as client:
        previous: object = None
        for number in range(SIGNALS // 5):
            response = client.chat.completions.create(model=("gpt-4.1", "gpt-4o-mini")[number % 2], messages=[message])
            # Every tenth is also rated by an id that no process knows a span of.
            away = "auto" if number % 2 else "linked"
            target = response if number % 10 else f"unheard-of-{number}"
            spanback.record_feedback(response, signals.THUMBS_UP, user_id=f"user-{number}")
            spanback.record_feedback(
                response,
                signals.THUMBS_DOWN,
                placement=away,
                user_id=f"user-{number}",
                comment=f"Nr. {number}: “ö”, 👎, \n and {'so ' * 10}on",
                label="wrong",
                metadata={"page": "/plans", "attempt": number, "first": number == 0, "seconds": number / 7 + 0.01},
            )
            spanback.record_feedback(
                target, rating=1 + number % 5, scale=(1, 5), name="stars", placement=away, feedback_id=f"s-{number}"
            )
            spanback.record_feedback(
                response,
                name="correction",
                improvement={"answer": ["Canberra", number], "why": None},
                observed_at=datetime(2025, 11, 1, 10, tzinfo=timezone.utc),
                placement=away,
            )
            if number % 25 == 1:
                spanback.retract_feedback(f"s-{number}", response, name="stars")
                spanback.record_preference(response, previous, name="better")
                continue
            previous = response
            spanback.record_feedback(
                response, signals.COPIED, source="system", comment="é" * (LONG_BYTES // 2) if number == 7 else None
            )


if __name__ == "__main__":
    main()
