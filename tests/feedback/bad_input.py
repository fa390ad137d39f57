"""What is refused, and with which message: the README's table, made of calls that are really made.

python -m tests.feedback.bad_input prints it.
"""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Any

import spanback
from spanback import InvalidBatch, InvalidFeedback, signals
from spanback.feedback._declared import DECLARED
from spanback.testing import capture, fake_ref

CASES = (
    "record_feedback(response)",
    "record_feedback(response, score=1.5)",
    "record_feedback(response, score=True)",
    "record_feedback(response, rating=6, scale=(1, 5))",
    "record_feedback(response, rating=4)",
    "record_feedback(response, rating=4, scale=(5, 1))",
    "record_feedback(response, score=1, rating=4, scale=(1, 5))",
    "record_feedback(response, score=1, name='User thumbs')",
    "record_feedback(response, score=1, criterion='Tone!')",
    "record_feedback(response, score=1, weight=2)",
    "record_feedback(response, score=1, source='agent')",
    "record_feedback(response, score=1, type='guess')",
    "record_feedback(response, label='two\\nlines')",
    "record_feedback(response, comment=' ')",
    "record_feedback(response, improvement={1, 2})",
    "record_feedback(response, score=1, metadata={'page': None})",
    "record_feedback(response, score=1, metadata={'': 1})",
    "record_feedback(response, score=1, metadata=['page'])",
    "record_feedback(response, score=1, user_id='')",
    "record_feedback(response, score=1, rater_id='')",
    "record_feedback(response, score=1, feedback_id='')",
    "record_feedback(response, score=1, observed_at=datetime(2025, 3, 1))",
    "record_feedback(response, score=1, placement='inside')",
    "record_feedback(response, 'THUMBS_UP')",
    "record_feedback(score=1)",
    "record_feedback(7, score=1)",
    "record_feedback(object(), score=1)",
    "record_feedback(response, rating=4, scale=(0, 10), name='helpfulness')",
    "record_feedback(response, label='fine', name='helpfulness')",
    "record_preference(response, response)",
    "record_preference(response, [])",
    "record_preference(response, None)",
    "record_preference(response, chosen_choice=1, rejected_choice=1)",
    "record_preference(response, chosen_choice=0, rejected_choice=[])",
    "retract_feedback(target=response)",
    "record_many([{'score': 2}])",
    "record_many([{'score': 1, 'colour': 'red'}])",
    "record_many({'score': 1})",
    "declare('stars', scores=(0, 5))",
    "reduce([], policy='latest')",
    "signals.edited('before', None)",
)


def message(call: str) -> str:
    """What a call is refused with; the README has declared helpfulness by then."""
    known: dict[str, Any] = {name: getattr(spanback, name) for name in spanback.__all__}
    known |= {"signals": signals, "datetime": datetime, "timezone": timezone, "response": fake_ref()}
    before = dict(DECLARED)
    with capture():
        spanback.declare("helpfulness", scale=(1, 5), labels=["good", "bad"])
        try:
            eval(call, known)
        except InvalidBatch as refusal:
            return str(refusal.problems[0][1])
        except InvalidFeedback as refusal:
            return str(refusal)
        finally:
            DECLARED.clear()
            DECLARED.update(before)
    raise AssertionError(f"{call} is not refused")


def table() -> str:
    """The README's table."""
    rows = [f"| `{call}` | `{message(call)}` |".replace("\n", "\\n") for call in CASES]
    return "\n".join(["| call | is refused with |", "|---|---|", *rows])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
