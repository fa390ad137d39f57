"""All that can be said about answers: votes, edits, preferences, raters, batches; changed, withdrawn and counted."""

from datetime import datetime, timedelta, timezone

import openai
from openai.types.chat import ChatCompletion

import spanback
from spanback import signals

spanback.declare("helpfulness", scale=(1, 5), source="user", labels=["good", "bad"])
spanback.instrument(
    capture_content=True,
    user_hash_key="a secret of this app",
    redact=lambda field, value: value.replace("Anna", "[name]") if field == "comment" else value,
    consent=lambda user_id, _target: user_id != "someone who said no",
)
client = openai.OpenAI()


def answer(question: str) -> ChatCompletion:
    """Asks the model."""
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": question}])


first, second, third = (answer("Which museum in Paris shows the Mona Lisa?") for _ in range(3))
text = first.choices[0].message.content or ""

# A vote, changed, and cleared by whoever gave it. A double click is one vote.
spanback.record_feedback(first, signals.THUMBS_UP, user_id="anna")
vote = spanback.record_feedback(first, signals.THUMBS_DOWN, user_id="anna", comment="Anna says: too long")
cleared = spanback.retract_feedback(target=first, signal=signals.THUMBS_UP, user_id="anna")
print("one vote:", vote.feedback_id == cleared.feedback_id)

# What users do: they edit, and have answers made anew.
spanback.record_feedback(first, signals.edited(text, "The " + text), improvement="The " + text)
signals.regenerated(first, second)

# Which is better, and which is the best of three.
spanback.record_preference(second, first, user_id="anna")
spanback.record_preference(third, [first, second], criterion="tone", rater_id="rater 1", source="system")

# Several raters, by criterion.
for rater, stars in (("rater 1", 4), ("rater 2", 5)):
    spanback.record_feedback(third, rating=stars, name="helpfulness", rater_id=rater, criterion="facts")

# A batch from last week, all or nothing.
last_week = datetime.now(timezone.utc) - timedelta(days=7)
batch = [{"target": one, "signal": signals.COPIED, "observed_at": last_week} for one in (first, second, third)]
print("in the batch:", {receipt.status for receipt in spanback.record_many(batch)})

# One of several choices, and a whole conversation.
spanback.record_feedback(first, score=0.5, name="choice_quality", choice=0)
spanback.record_feedback(conversation_id="conversation-7", score=1, name="resolved")

# Who said no is not recorded, and what is wrong is refused.
print("without consent:", spanback.record_feedback(first, score=1, user_id="someone who said no").status)
try:
    spanback.record_feedback(first, rating=9, name="helpfulness")
except spanback.InvalidFeedback as error:
    print("refused:", error)

# What the receipt says.
receipt = spanback.record_feedback(third, signals.SAVED)
print(receipt.status, receipt.feedback_id)
