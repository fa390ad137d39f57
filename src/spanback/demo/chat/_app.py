"""The app: a page, answers that are streamed, the feedback endpoint, and a stream of what the telemetry says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from openai import APIError, AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

import spanback
from spanback import web
from spanback.demo.chat._live import LiveTelemetry
from spanback.web.asgi import FeedbackApp

_STATIC: Final = Path(__file__).parent / "static"
_POLICY: Final = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PROMPTS: Final = {
    "1": "You are a travel assistant. Answer in one or two sentences.",
    "2": "You are a well-travelled friend. Answer in one or two warm sentences, and name one thing few people know.",
}
_PROMPT_NAME: Final = "travel-assistant"
_MAX_TOKENS: Final = 120
_LIVE_PAUSE_S: Final = 0.3


@dataclass(frozen=True)
class Model:
    """The model that answers.

    Attributes:
        base_url: Where a server speaks OpenAI's format.
        name: The model's name there.
        api_key: The key to it.
        pace_s: How long to wait after each piece of an answer, in seconds: a scripted model has no pace of its own.
    """

    base_url: str
    name: str
    api_key: str = "not-needed"
    pace_s: float = 0.0


class Turn(BaseModel):
    """One message of the conversation so far."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=4_000)


class Question(BaseModel):
    """What the page asks for.

    Attributes:
        turns: The conversation so far, the question last.
        conversation_id: Which conversation it is; none at its first question.
        prompt_version: Which of the prompts to ask with.
        attempt: How many answers to the question there are already.
    """

    turns: list[Turn] = Field(min_length=1, max_length=40)
    conversation_id: str | None = Field(None, pattern=r"^[a-z0-9_-]{1,64}$")
    prompt_version: Literal["1", "2"] = "1"
    attempt: int = Field(0, ge=0, le=1_000)


def create_app(
    model: Model, folder: Path, *, keys: list[str] | None = None, is_closing: Callable[[], bool] = lambda: False
) -> FastAPI:
    """The app. `spanback.instrument(file=folder)` must have been called.

    Args:
        model: The model that answers.
        folder: Where the telemetry is written, and read from for the panel.
        keys: Keys of feedback tokens; those of SPANBACK_TOKEN_KEYS when None.
        is_closing: Whether the server is about to end, so that no stream holds it up.

    Raises:
        MissingTokenKey: There is no key for feedback tokens.
    """
    chat = _Chat(model, folder, keys, is_closing)
    app = FastAPI(title="spanback demo", lifespan=chat.lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/", chat.page, response_model=None)
    app.add_api_route("/chat", chat.answer, methods=["POST"], response_model=None)
    app.add_api_route("/telemetry", chat.telemetry, response_model=None)
    app.mount("/feedback", FeedbackApp(keys=keys))
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


class _Chat:
    """The routes of the app."""

    def __init__(self, model: Model, folder: Path, keys: list[str] | None, is_closing: Callable[[], bool]) -> None:
        self._model = model
        self._keys = keys
        self._is_closing = is_closing
        self._client = AsyncOpenAI(base_url=model.base_url, api_key=model.api_key, max_retries=0)
        self._live = LiveTelemetry(folder)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None, None]:
        yield
        await self._client.close()

    async def page(self) -> FileResponse:
        return FileResponse(_STATIC / "index.html", headers={"Content-Security-Policy": _POLICY})

    async def answer(self, question: Question) -> StreamingResponse:
        return _stream(self._answer(question))

    async def telemetry(self) -> StreamingResponse:
        return _stream(self._changes())

    async def _answer(self, question: Question) -> AsyncIterator[str]:
        """The events of one answer: who may rate it, its text piece by piece, and its end."""
        conversation_id = question.conversation_id or f"conv_{uuid4().hex[:12]}"
        try:
            with spanback.context(
                conversation_id=conversation_id, prompt_name=_PROMPT_NAME, prompt_version=question.prompt_version
            ):
                stream = await self._client.chat.completions.create(
                    model=self._model.name,
                    messages=_messages(question),
                    max_tokens=_MAX_TOKENS,
                    seed=question.attempt,
                    stream=True,
                    stream_options={"include_usage": True},
                )
            # Known from here on, so that the answer can be rated while it is still being written.
            yield _event("feedback", {**web.handle(stream, keys=self._keys), "conversation_id": conversation_id})
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield _event("text", choice.delta.content)
                        await asyncio.sleep(self._model.pace_s)
            yield _event("done", None)
        except APIError as error:
            yield _event("error", f"The model gave no answer: {error.message}")

    async def _changes(self) -> AsyncIterator[str]:
        """What the telemetry says, whenever it says something new."""
        shown = ""
        while not self._is_closing():
            told = await asyncio.to_thread(self._live.told)
            if told != shown:
                shown = told
                yield f"data: {told}\n\n"
            await asyncio.sleep(_LIVE_PAUSE_S)


def _messages(question: Question) -> list[ChatCompletionMessageParam]:
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": _PROMPTS[question.prompt_version]}]
    for turn in question.turns:
        if turn.role == "user":
            messages.append({"role": "user", "content": turn.content})
        else:
            messages.append({"role": "assistant", "content": turn.content})
    return messages


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


def _stream(events: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
