"""An app under load: calls a model many times, rates each answer, and prints what it said of each as a line of JSON.

    python -m tests.backends.load 10000

The scores, weights and names follow from the number of the call, so that two runs say the same. Where telemetry goes,
and how much of it is sampled, is said by the `OTEL_*` variables alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai

import spanback
from spanback.demo._loopback import LoopbackServer

if TYPE_CHECKING:
    from spanback import SpanRef

NAMES = ("user_thumbs", "helpfulness", "factual_accuracy")
MODELS = ("gpt-4o-mini", "gpt-4.1")
LATE = 5
"""Every fifth signal comes as if the call was long ago."""


def said(number: int) -> dict[str, Any]:
    """What is said of the answer to a call."""
    return {
        "score": (number * 7 % 21 - 10) / 10,
        "weight": (number * 3 % 10 + 1) / 10,
        "name": NAMES[number % len(NAMES)],
        "source": "system" if number % len(NAMES) == 2 else "user",
        "type": "implicit" if number % 4 == 0 else "explicit",
    }


def rate(client: openai.OpenAI, number: int) -> dict[str, Any]:
    """Makes a call, rates its answer, and gives what was said, and of which span."""
    question = {"role": "user", "content": f"Where can I eat vegetarian near the station? {number}"}
    response = client.chat.completions.create(model=MODELS[number % len(MODELS)], messages=[question])
    ref: SpanRef | None = spanback.reference(response)
    assert ref is not None
    rated = replace(ref, prompt_name="travel", prompt_version=str(number % 3))
    signal = said(number)
    receipt = spanback.record_feedback(rated, placement="linked" if number % LATE == 0 else "auto", **signal)
    return {
        **signal,
        "feedback_id": receipt.feedback_id,
        "placement": receipt.placement,
        "trace_id": f"{ref.trace_id:032x}",
        "span_id": f"{ref.span_id:016x}",
        "sampled": ref.sampled,
        "model": ref.request_model,
        "prompt_version": rated.prompt_version,
    }


def main() -> None:
    """Makes as many calls as the argument says."""
    spanback.instrument()
    with LoopbackServer() as server, openai.OpenAI(base_url=server.base_url, api_key="not-needed") as client:
        for number in range(int(sys.argv[1])):
            print(json.dumps(rate(client, number)))


if __name__ == "__main__":
    main()
