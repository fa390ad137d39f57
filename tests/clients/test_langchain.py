"""Messages of LangChain: no spans of ours for its runs, and feedback on a message finds the call of the model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import reduce
from operator import add
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("langchain_openai")
pytest.importorskip("langchain_anthropic")

from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_openai import ChatOpenAI

import spanback
from spanback.instrumentation._noticing import NOTICING
from tests.clients import litellm
from tests.clients.anthropic import TRACES_ITSELF
from tests.clients.wire import WireServer
from tests.conftest import Memory


class Models:
    """Makes models of LangChain that talk to a server of ours."""

    def __init__(self, server: WireServer, http_client: Any) -> None:
        self._server = server
        self._http_client = http_client
        self._claudes: list[Any] = []

    def openai(self, **choices: Any) -> Any:
        """One that goes through OpenAI's client."""
        given = {"base_url": f"{self._server.base_url}/v1", "api_key": "test", "max_retries": 0, **choices}
        return ChatOpenAI(model="model-1", http_async_client=self._http_client, **given)

    def responses(self) -> Any:
        """The same by the Responses API."""
        if "use_responses_api" not in ChatOpenAI.model_fields:
            pytest.skip("this release knows no Responses API")
        return self.openai(use_responses_api=True)

    def anthropic(self) -> Any:
        """One that goes through Anthropic's client."""
        claude = ChatAnthropic(model="model-1", base_url=self._server.base_url, api_key="test", max_retries=0)
        self._claudes.append(claude)
        return claude

    async def close(self) -> None:
        """Closes what the models keep for themselves."""
        for claude in self._claudes:
            await claude._async_client.close()


@pytest.fixture
async def models(instrument: Any) -> AsyncIterator[Models]:
    """Models, with spans of ours for their calls."""
    instrument()
    async with litellm.HTTP.AsyncClient() as http_client:
        with WireServer().running() as server:
            server.speak(litellm.answers)
            made = Models(server, http_client)
            yield made
            await made.close()


@pytest.fixture
def model(models: Models) -> Callable[..., Any]:
    """Makes models that go through OpenAI's client."""
    return models.openai


over_kinds = pytest.mark.parametrize("kind", ["openai", "responses", "anthropic"])


@over_kinds
async def test_feedback_on_a_message(models: Models, memory: Memory, kind: str) -> None:
    """A message finds its call by the id of the response."""
    chat = getattr(models, kind)()
    messages = (chat.invoke("When?"), await chat.ainvoke("When?"))
    assert [type(message) for message in messages] == [AIMessage, AIMessage]
    for message, span in zip(messages, memory.spans, strict=True):
        reference = spanback.reference(message)
        response_id = span.attributes["gen_ai.response.id"]
        assert reference.span_id == span.context.span_id
        assert message.response_metadata.get("id", response_id) == response_id  # the first releases do not keep it
        assert reference.response_id == message.response_metadata.get("id")


@over_kinds
async def test_feedback_on_a_streamed_message(models: Models, memory: Memory, kind: str) -> None:
    """Each chunk of a message finds its call, and so does their sum."""
    chat = getattr(models, kind)()
    messages = (list(chat.stream("When?")), [chunk async for chunk in chat.astream("When?")])
    for chunks, span in zip(messages, memory.spans, strict=True):
        assert {type(chunk) for chunk in chunks} == {AIMessageChunk}
        found = {spanback.reference(chunk).span_id for chunk in (*chunks, reduce(add, chunks))}
        assert found == {span.context.span_id}


async def test_feedback_while_a_message_streams(models: Models, memory: Memory) -> None:
    """The first chunk of Claude's message can be rated while the others are still to come."""
    stream = models.anthropic().stream("When?")
    receipt = spanback.record_feedback(next(stream), score=1)
    assert memory.counted.ended == 1  # the feedback, and not yet the call
    assert len(list(stream)) > 1
    feedback, call = memory.spans
    assert receipt.status == "recorded"
    assert [link.context.span_id for link in feedback.links] == [call.context.span_id]


@pytest.mark.skipif(not TRACES_ITSELF, reason="this release of anthropic makes no spans of its own")
async def test_feedback_on_a_message_that_claudes_client_traces(models: Models, memory: Memory) -> None:
    """Where Anthropic's client makes the span, ours is not made, and messages find theirs."""
    chat = models.anthropic()
    chat.__dict__["_client"] = chat._client.with_options(open_telemetry={"tracer_provider": memory.tracer_provider})
    messages = (chat.invoke("When?"), reduce(add, chat.stream("When?")))
    assert [span.instrumentation_scope.name for span in memory.spans] == ["com.anthropic.sdk.python"] * 2
    for message, span in zip(messages, memory.spans, strict=True):
        assert spanback.reference(message).span_id == span.context.span_id


async def test_calls_at_once(model: Callable[..., Any], memory: Memory) -> None:
    """Messages of a batch find each its own call, also from within a chain."""
    messages = model(streaming=True).batch(["one", "two", "three"])
    assert {spanback.reference(message).span_id for message in messages} == {
        span.context.span_id for span in memory.spans
    }
    assert len(memory.spans) == 3
    memory.clear()
    assert "".join((model() | StrOutputParser()).stream("When?")) == litellm.ANSWER
    assert memory.span.name == "chat model-1"


async def test_a_message_without_a_call(model: Callable[..., Any], memory: Memory) -> None:
    """A message that nobody traced refers to nothing, and neither do objects that only look like one."""
    message = model().invoke("When?")
    spanback.uninstrument()
    for other in (
        message.model_copy(update={"response_metadata": {"id": "chatcmpl-unknown"}, "id": None}),
        message.model_copy(update={"response_metadata": {}, "id": "lc_run--00000000-0000-0000-0000-000000000000"}),
        message.model_copy(update={"response_metadata": {}, "id": None}),
        SimpleNamespace(response_metadata=None, id=None),
    ):
        assert spanback.reference(other) is None
    assert memory.span.name == "chat model-1"


async def test_a_message_without_the_id_of_its_response(model: Callable[..., Any], memory: Memory) -> None:
    """The run tells the call, where the response's id is gone or somebody else's."""
    message = model().invoke("When?")
    for metadata in ({}, {"id": "chatcmpl-unknown"}):
        reference = spanback.reference(message.model_copy(update={"response_metadata": metadata}))
        assert reference.span_id == memory.span.context.span_id
        assert reference.response_id == metadata.get("id")


class Tracing(BaseCallbackHandler):
    """Makes a span for each run of a model, and keeps it by the run's id as the instrumentations of others do."""

    def __init__(self, memory: Memory, *, holds_spans: bool) -> None:
        self._tracer = memory.tracer_provider.get_tracer("openinference.instrumentation.langchain")
        self._spans_by_run: dict[Any, Any] | None = {} if holds_spans else None
        self.spans: dict[Any, Any] = {}

    def on_chat_model_start(self, _serialized: Any, _messages: Any, *, run_id: Any, **_: Any) -> None:
        """A run begins."""
        span = self._tracer.start_span("ChatOpenAI")
        if self._spans_by_run is None:
            self.spans[run_id] = SimpleNamespace(span=span)
        else:
            self._spans_by_run[run_id] = span

    def on_llm_end(self, _response: Any, *, run_id: Any, **_: Any) -> None:
        """A run ends."""
        (self._spans_by_run[run_id] if self._spans_by_run is not None else self.spans[run_id].span).end()


@pytest.mark.parametrize("holds_spans", [True, False], ids=["spans by run", "holders by run"])
async def test_a_span_that_others_make_for_a_run(
    model: Callable[..., Any], memory: Memory, monkeypatch: pytest.MonkeyPatch, holds_spans: bool
) -> None:
    """It is kept although it is not the current one, ours is not made, and the message finds it."""
    monkeypatch.setattr(NOTICING, "is_needed", True)
    config = {"callbacks": [BaseCallbackHandler(), Tracing(memory, holds_spans=holds_spans)]}
    chat = model()
    messages = (chat.invoke("When?", config), await chat.ainvoke("When?", config))
    assert [span.name for span in memory.spans] == ["ChatOpenAI", "ChatOpenAI"]
    for message, span in zip(messages, memory.spans, strict=True):
        assert spanback.reference(message).span_id == span.context.span_id


async def test_a_run_that_nobody_traces(
    model: Callable[..., Any], memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our span is made, whatever handlers there are."""
    monkeypatch.setattr(NOTICING, "is_needed", True)
    model().invoke("When?", {"callbacks": [BaseCallbackHandler()]})
    assert memory.span.name == "chat model-1"
