"""Questions asked side by side, each answer rated by its response id, as an endpoint for feedback would do it."""

import asyncio

import openai

import spanback

spanback.instrument(capture_content=True)
client = openai.AsyncOpenAI()


async def answer(question: str) -> str:
    """Asks the model; the id is all that the caller keeps."""
    response = await client.responses.create(model="gpt-4o-mini", input=question)
    print(response.output_text)
    return response.id


async def main() -> None:
    """Asks, then hands in a thumb, a correction and an evaluator's score."""
    first, second = await asyncio.gather(answer("Who painted the Mona Lisa?"), answer("Where is it shown?"))
    receipts = [
        spanback.record_feedback(first, spanback.signals.THUMBS_UP),
        spanback.record_feedback(second, spanback.signals.EDITED, improvement="In the Louvre, in the Salle des Etats."),
        spanback.record_feedback(second, name="factual_accuracy", score=0.4, weight=0.7, source="system"),
    ]
    print(*(receipt.status for receipt in receipts))


if __name__ == "__main__":
    asyncio.run(main())
