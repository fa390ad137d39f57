"""A streamed answer that is rated while it streams, and again later by its reference alone."""

import openai

import spanback

spanback.instrument(capture_content=True)

stream = openai.OpenAI().chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "Which museum in Paris shows the Mona Lisa?"}],
    stream=True,
    stream_options={"include_usage": True},
)
ref = None
for chunk in stream:
    ref = ref or spanback.reference(chunk)
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

# The reader copied the answer.
spanback.record_feedback(stream, spanback.signals.COPIED)

# What a database or a browser would keep; any process can rate the answer with it, also a month from now.
later = ref.traceparent if ref else None
receipt = spanback.record_feedback(
    later, rating=4, scale=(1, 5), name="helpfulness", comment="Right, but where in the museum?"
)
print(receipt.status, receipt.feedback_id)
