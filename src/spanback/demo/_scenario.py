"""What the demo's app does: a travel assistant's calls through the real `openai` client, and what came back on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from openai import APIStatusError, AsyncOpenAI, OpenAI

import spanback
from spanback import _settings, signals

if TYPE_CHECKING:
    from pathlib import Path

    from openai.types.chat import ChatCompletionMessageParam

Tell = Callable[[str, str], object]
"""Called before each call with what is called and what is asked."""

_SYSTEM: Final = "You are a travel assistant. Answer in one or two sentences."
_MAX_TOKENS: Final = 80


@dataclass(frozen=True)
class Backend:
    """The server that the scenario talks to.

    Attributes:
        base_url: Its address.
        fast_model: The model for easy questions.
        careful_model: The model for the others; it may be the same one.
        failing_question: A question that it answers with an error.
        has_responses: Whether it has the Responses API.
    """

    base_url: str
    fast_model: str
    careful_model: str
    failing_question: str
    has_responses: bool


SCRIPTED_MODELS: Final = ("gpt-4o-mini", "gpt-4.1")


def scripted(base_url: str) -> Backend:
    """The loopback server as a backend; an old client may not know the Responses API."""
    return Backend(base_url, *SCRIPTED_MODELS, "Which trips are left for Easter?", hasattr(OpenAI, "responses"))


def play(backend: Backend, folder: Path, tell: Tell) -> bool:
    """Instruments this process, makes the calls, records the feedback, and waits until the telemetry is written.

    Args:
        backend: The server to talk to.
        folder: Where the OTLP-JSON lines go; they also leave by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT points.
        tell: Called before each call with what is called and what is asked.

    Returns:
        Whether all of the telemetry was written, and taken where it was sent, within the time that is allowed.
    """
    spanback.instrument(file=folder, capture_content=True)
    with OpenAI(base_url=backend.base_url, api_key="demo", max_retries=0) as client:
        scenario = _Scenario(client, backend, tell)
        scenario.chat()
        scenario.chat_streamed()
        scenario.chat_slow()
        scenario.chat_failing()
        if backend.has_responses:
            scenario.responses()
            scenario.responses_streamed()
    # In a thread of its own, since Python 3.11 stops tracing the frames that wait for a loop with an HTTP client in it.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, _play_async(backend, tell)).result()
    return spanback.flush(_settings.current().flush_timeout_s)


async def _play_async(backend: Backend, tell: Tell) -> None:
    async with AsyncOpenAI(base_url=backend.base_url, api_key="demo", max_retries=0) as client:
        scenario = _AsyncScenario(client, backend, tell)
        await scenario.chat()
        await scenario.chat_streamed()
        if backend.has_responses:
            await scenario.responses()
            await scenario.responses_streamed()


class _Scenario:
    """The calls of the sync client, each with its feedback beneath."""

    def __init__(self, client: OpenAI, backend: Backend, tell: Tell) -> None:
        self._client = client
        self._backend = backend
        self._tell = tell

    def chat(self) -> None:
        """A thumb up with a comment, and an evaluator's score."""
        question = "Plan two days in Lisbon."
        self._tell("chat", question)
        response = self._client.chat.completions.create(
            model=self._backend.fast_model, messages=_messages(question), max_tokens=_MAX_TOKENS
        )
        spanback.record_feedback(response, signals.THUMBS_UP, comment="Just what I wanted.")
        spanback.record_feedback(response, score=0.9, name="relevance", weight=0.9, source="system", label="relevant")

    def chat_streamed(self) -> None:
        """An evaluator's verdict on a fact, and the user's thumb with the correction."""
        question = "What is the capital of Australia?"
        self._tell("chat, streamed", question)
        stream = self._client.chat.completions.create(
            model=self._backend.fast_model,
            messages=_messages(question),
            max_tokens=_MAX_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        ref = spanback.reference(stream)
        is_right = "canberra" in text.lower()
        spanback.record_feedback(
            ref,
            score=1.0 if is_right else -1.0,
            name="factual_accuracy",
            weight=0.9,
            source="system",
            label="correct" if is_right else "hallucination",
        )
        thumb = signals.THUMBS_UP if is_right else signals.THUMBS_DOWN
        spanback.record_feedback(ref, thumb, improvement="The capital of Australia is Canberra.")

    def chat_slow(self) -> None:
        """An answer that the user did not wait for."""
        question = "Plan a whole year of travel, a city for each month."
        self._tell("chat, slow", question)
        response = self._client.chat.completions.create(
            model=self._backend.careful_model, messages=_messages(question), max_tokens=2 * _MAX_TOKENS
        )
        spanback.record_feedback(response, signals.DISMISSED)

    def chat_failing(self) -> None:
        """A call that fails: its span says how."""
        self._tell("chat, failing", self._backend.failing_question)
        try:
            self._client.chat.completions.create(
                model=self._backend.fast_model, messages=_messages(self._backend.failing_question)
            )
        except APIStatusError:
            return

    def responses(self) -> None:
        """A thumb that knows no more than the response's id, as one from a browser would."""
        question = "Is there a night train from Vienna to Venice?"
        self._tell("responses", question)
        response = self._client.responses.create(
            model=self._backend.careful_model, input=question, instructions=_SYSTEM
        )
        spanback.record_feedback(response.id, signals.THUMBS_UP)

    def responses_streamed(self) -> None:
        """An answer that the user saved."""
        question = "What shall I pack for a week in Norway?"
        self._tell("responses, streamed", question)
        stream = self._client.responses.create(model=self._backend.fast_model, input=question, stream=True)
        for _ in stream:
            pass
        spanback.record_feedback(stream, signals.SAVED)


class _AsyncScenario:
    """The calls of the async client, each with its feedback beneath."""

    def __init__(self, client: AsyncOpenAI, backend: Backend, tell: Tell) -> None:
        self._client = client
        self._backend = backend
        self._tell = tell

    async def chat(self) -> None:
        """Four of five stars."""
        question = "When should I visit Kyoto?"
        self._tell("async chat", question)
        response = await self._client.chat.completions.create(
            model=self._backend.careful_model, messages=_messages(question), max_tokens=_MAX_TOKENS
        )
        spanback.record_feedback(response, rating=4, scale=(1, 5), name="stars")

    async def chat_streamed(self) -> None:
        """An answer that the user copied."""
        question = "Where can I eat vegetarian near the station?"
        self._tell("async chat, streamed", question)
        stream = await self._client.chat.completions.create(
            model=self._backend.fast_model, messages=_messages(question), max_tokens=_MAX_TOKENS, stream=True
        )
        async for _ in stream:
            pass
        spanback.record_feedback(stream, signals.COPIED)

    async def responses(self) -> None:
        """A thumb down that says why, with the page it was given on."""
        question = "Do I need a visa for Japan?"
        self._tell("async responses", question)
        response = await self._client.responses.create(model=self._backend.careful_model, input=question)
        spanback.record_feedback(
            response,
            signals.THUMBS_DOWN,
            label="incomplete",
            comment="It did not ask which passport I have.",
            metadata={"page": "entry-rules"},
        )

    async def responses_streamed(self) -> None:
        """An answer that the user shortened."""
        question = "How long does a refund take?"
        self._tell("async responses, streamed", question)
        stream: Any = await self._client.responses.create(model=self._backend.fast_model, input=question, stream=True)
        async for _ in stream:
            pass
        spanback.record_feedback(stream, signals.EDITED, improvement="Refunds take five working days.")


def _messages(question: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]
