"""An app as users write it: calls a model, gives feedback, and prints what the backends should have of it.

    python -m tests.backends.app rated
    python -m tests.backends.app many 500

Where telemetry goes is said by the `OTEL_*` variables alone. What is logged goes to standard error.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict

import openai

import spanback
from spanback import signals
from spanback.demo._loopback import LoopbackServer


def rated(client: openai.OpenAI) -> list[dict[str, object]]:
    """A call that was liked, as a child of its span, and one that was not, in a trace of its own."""
    message = {"role": "user", "content": "What is the capital of Australia?"}
    liked = client.chat.completions.create(model="gpt-4.1", messages=[message])
    disliked = client.chat.completions.create(model="gpt-4o-mini", messages=[message])
    receipts = [
        spanback.record_feedback(liked, signals.THUMBS_UP),
        spanback.record_feedback(
            disliked,
            signals.THUMBS_DOWN,
            placement="linked",
            comment="Wrong city",
            improvement="Canberra",
            label="wrong",
            user_id="user-7",
        ),
        spanback.record_feedback(disliked, rating=2, scale=(1, 5), name="stars", placement="linked"),
    ]
    return [told(receipt) for receipt in receipts]


def many(client: openai.OpenAI, count: int) -> list[dict[str, object]]:
    """As many calls, each with one signal, whatever the app's sampler keeps of the calls."""
    message = {"role": "user", "content": "Where can I eat vegetarian near the station?"}
    responses = (client.chat.completions.create(model="gpt-4o-mini", messages=[message]) for _ in range(count))
    return [told(spanback.record_feedback(response, signals.COPIED)) for response in responses]


def told(receipt: spanback.Receipt) -> dict[str, object]:
    """A receipt for the test that started this app."""
    ref = receipt.target
    assert ref is not None
    target = {
        "target_trace_id": f"{ref.trace_id:032x}",
        "target_span_id": f"{ref.span_id:016x}",
        "sampled": ref.sampled,
    }
    kept = {name: value for name, value in asdict(receipt).items() if name != "target"}
    return {**kept, **target}


def main() -> None:
    """Runs what the arguments name and prints the receipts as JSON."""
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("spanback").setLevel(logging.INFO)
    spanback.instrument(capture_content=True)
    with LoopbackServer() as server, openai.OpenAI(base_url=server.base_url, api_key="not-needed") as client:
        print(json.dumps(rated(client) if sys.argv[1] == "rated" else many(client, int(sys.argv[2]))))


if __name__ == "__main__":
    main()
