"""A call becomes a span, a thumb becomes an event linked to it. Needs OPENAI_API_KEY, and nothing else."""

import openai

import spanback

spanback.instrument()

response = openai.OpenAI().chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "Which museum in Paris shows the Mona Lisa?"}]
)
print(response.choices[0].message.content)

receipt = spanback.record_feedback(response, spanback.signals.THUMBS_UP)
print(receipt.status, receipt.feedback_id)
