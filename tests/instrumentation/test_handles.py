"""The handle that a response carries: it survives what apps do with responses, and shows in nothing."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import spanback
from spanback._spanref import RESPONSES, attached
from spanback.demo._loopback import LoopbackServer
from tests.clients.wire import WireServer, as_sse
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import BODIES, MESSAGES, MODEL, Row

COPIES: dict[str, Callable[[Any], Any]] = {
    "model_copy": lambda response: response.model_copy(),
    "deep model_copy": lambda response: response.model_copy(deep=True),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda response: pickle.loads(pickle.dumps(response)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_carries_the_handle(how: str, instrument: Any, client: Any, memory: Memory) -> None:
    """Every kind of copy refers to the call's span."""
    instrument()
    twin = COPIES[how](client.chat.completions.create(model=MODEL, messages=MESSAGES))
    RESPONSES.clear()
    reference = spanback.reference(twin)
    assert (reference.trace_id, reference.span_id) == (memory.span.context.trace_id, memory.span.context.span_id)


def test_json_carries_the_id(instrument: Any, client: Any, memory: Memory) -> None:
    """A response that went through JSON has lost its handle; its id finds the span, with all dimensions."""
    instrument()
    response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    again = type(response).model_validate(json.loads(response.model_dump_json()))
    assert attached(again) is None
    reference = RESPONSES.find(again.id)
    assert reference == spanback.reference(response)
    assert (reference.request_model, reference.response_model) == (MODEL, "gpt-4o-mini-2024-07-18")


def test_the_handle_shows_nowhere(instrument: Any, client: Any) -> None:
    """Dumps, repr, fields and equality are those of a response without a handle."""
    instrument()
    response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    clean = type(response).model_validate(response.model_dump(exclude_unset=True))
    assert attached(response) is not None
    assert attached(clean) is None
    for view in (repr, str, dict, list, type(response).model_dump, type(response).model_dump_json):
        assert view(response) == view(clean)
    assert response == clean
    assert (response.model_extra, response.model_fields_set) == (clean.model_extra, clean.model_fields_set)
    assert "_spanback" not in json.dumps(response.to_dict())


ROWS = [
    *(Row(endpoint, "unary", mode) for endpoint in BODIES for mode in ("plain", "raw", "open")),
    *(Row(endpoint, "streamed", mode) for endpoint in BODIES if endpoint != "embeddings" for mode in ("plain", "raw", "open")),
    Row("chat", "parse", "plain"),
    Row("responses", "parse", "plain"),
]  # fmt: skip


@driving.is_async
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_what_the_app_holds_refers_to_the_span(row: Row, is_async: bool, bench: Any) -> None:
    """The response or stream that an app holds in the end refers to the call's span."""
    bench.instrument()
    client = bench.connect(is_async=is_async)
    if driving.method_of(client, row) is None:
        pytest.skip(f"this release of openai has no {row}")
    found = await driving.drive(client, row)
    reference = spanback.reference(found)
    assert (reference.trace_id, reference.span_id) == (
        bench.memory.span.context.trace_id,
        bench.memory.span.context.span_id,
    )
    assert (reference.provider_name, reference.request_model, reference.sampled) == ("openai", MODEL, True)
    assert reference.start_time_ns == bench.memory.span.start_time


@driving.is_async
@pytest.mark.parametrize("endpoint", ["chat", "responses", "completions"])
async def test_a_reference_exists_from_the_first_chunk(endpoint: str, is_async: bool, bench: Any) -> None:
    """A chunk, its stream, and the id in it refer to the span while the stream is still open."""
    bench.instrument()
    resource = driving.resource_of(bench.connect(is_async=is_async), endpoint)
    if resource is None:
        pytest.skip(f"this release of openai has no {endpoint}")
    stream = await driving.settled(resource.create(model=MODEL, **BODIES[endpoint], stream=True))
    (chunk,) = await driving.read(stream, 1)
    assert bench.memory.counted.ended == 0
    whole = chunk.response if endpoint == "responses" else chunk
    references = [spanback.reference(chunk), spanback.reference(stream), RESPONSES.find(whole.id)]
    await driving.settled(stream.close())
    assert {reference.span_id for reference in references} == {bench.memory.span.context.span_id}
    assert references[2].response_model == "gpt-4o-mini-2024-07-18"


def test_first_chunks_without_an_id(bench: Any) -> None:
    """Azure's first chunk bears no id; every chunk refers to the span all the same, while the stream is open too."""

    def chunk(response_id: str, **rest: Any) -> str:
        head = {"id": response_id, "object": "chat.completion.chunk", "created": 1, "model": ""}
        return f"data: {json.dumps({**head, **rest})}\n\n"

    choice = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    sent = chunk("", choices=[]) + chunk("chatcmpl-7", choices=[choice], model=MODEL) + "data: [DONE]\n\n"
    transport = driving.httpx.MockTransport(
        lambda _request: driving.httpx.Response(200, text=sent, headers={"content-type": "text/event-stream"})
    )
    bench.instrument()
    client = bench.connect(http_client=openai.DefaultHttpxClient(transport=transport))
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    found = [spanback.reference(one).span_id for one in stream]
    assert found == [bench.memory.span.context.span_id] * 2
    assert RESPONSES.find("chatcmpl-7").span_id == found[0]
    assert bench.memory.span.attributes["gen_ai.response.id"] == "chatcmpl-7"


def test_dimensions_of_a_stored_prompt(instrument: Any, client: Any) -> None:
    """A reference carries the prompt and the conversation that the request named."""
    if not driving.HAS_RESPONSES:
        pytest.skip("this release of openai has no Responses API")
    instrument()
    response = client.responses.create(
        model=MODEL, input="x", prompt={"id": "pmpt_1", "version": "3"}, conversation="conv_1"
    )
    reference = spanback.reference(response)
    assert (reference.prompt_name, reference.prompt_version, reference.conversation_id) == ("pmpt_1", "3", "conv_1")


@driving.is_async
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_was_not_sampled(stream: bool, is_async: bool, bench: Any, monkeypatch: Any) -> None:
    """A call that the sampler leaves out still carries a handle, and without a meter nothing is computed for it."""
    from spanback.instrumentation import _call

    memory = Memory(ALWAYS_OFF)
    bench.instrument(**{**memory.providers, "meter_provider": NoOpMeterProvider()}, capture_content=True)
    for name in ("_read_content", "_read_response", "_tell"):
        monkeypatch.delattr(_call.Call, name)
    found = await driving.settled(
        bench.connect(is_async=is_async).chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
    )
    if stream:
        found = (await driving.read(found))[-1]
    reference = spanback.reference(found)
    assert reference.sampled is False
    assert reference == RESPONSES.find("chatcmpl-000001")
    assert memory.spans == []


def test_a_call_that_was_not_sampled_and_fails(bench: Any) -> None:
    """A failed call that is not recorded leaves nothing behind, and the app's exception is the client's."""
    memory = Memory(ALWAYS_OFF)
    bench.instrument(**{**memory.providers, "meter_provider": NoOpMeterProvider()})
    with pytest.raises(openai.RateLimitError):
        bench.connect().chat.completions.create(model="error-429", messages=MESSAGES)
    assert (memory.spans, memory.logs, len(RESPONSES)) == ([], [], 0)


def test_metrics_are_not_sampled(bench: Any) -> None:
    """A call that the sampler leaves out counts in the metrics, and its content is read for nothing."""
    memory = Memory(ALWAYS_OFF)
    bench.instrument(**memory.providers, capture_content=True)
    bench.connect(is_async=False).chat.completions.create(model=MODEL, messages=MESSAGES)
    (point,) = memory.metrics()["gen_ai.client.inference.duration"].data.data_points
    assert point.count == 1
    assert set(memory.metrics()) >= {"gen_ai.client.inference.usage.input_tokens"}
    assert (memory.spans, memory.logs) == ([], [])


@driving.needs_responses
@driving.is_async
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_a_background_response_and_its_fetch(stream: bool, is_async: bool, bench: Any, server: Any) -> None:
    """Fetching a response is a span of its own without tokens; feedback on what it gives binds to the making span."""
    bench.instrument(capture_content=True)
    client = bench.connect(is_async=is_async)
    made = await driving.settled(client.responses.create(model=MODEL, input="Lisbon", background=True))
    (making,) = bench.memory.spans
    assert "gen_ai.response.finish_reasons" not in making.attributes
    bench.memory.clear()
    fetched = await driving.settled(client.responses.retrieve(made.id, **({"stream": True} if stream else {})))
    if stream:
        fetched = (await driving.read(fetched))[-1]
    assert spanback.reference(fetched).span_id == making.context.span_id
    assert RESPONSES.find(made.id).span_id == making.context.span_id
    (fetching,) = bench.memory.spans
    attributes = dict(fetching.attributes)
    assert attributes.pop("gen_ai.output.messages").startswith('[{"role":"assistant"')
    attributes.pop("gen_ai.response.time_to_first_chunk", None)
    expected = {
        "gen_ai.operation.name": "fetch_response",
        "gen_ai.provider.name": "openai",
        "gen_ai.response.id": "resp_000001",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.status": "completed",
        "gen_ai.response.finish_reasons": ("stop",),
        "openai.api.type": "responses",
        "openai.response.service_tier": "default",
        "server.address": "127.0.0.1",
        "server.port": server._server.server_port,
    }
    assert attributes == expected | ({"gen_ai.request.stream": True} if stream else {})
    assert fetching.name == "fetch_response"


@driving.needs_responses
def test_an_error_in_the_stream_of_a_fetched_response(instrument: Any, memory: Memory) -> None:
    """It is the call's error, and what the stream said of the status before is no longer told."""
    begun = {"id": "resp_1", "object": "response", "model": "gpt-1", "status": "in_progress", "output": []}
    events = [{"type": "response.created", "response": begun}, {"type": "error", "code": "overloaded", "message": "no"}]
    instrument()
    with WireServer().running() as server, openai.OpenAI(api_key="test", base_url=server.base_url) as client:
        server.speak(lambda _request: as_sse(events))
        assert len(list(client.responses.retrieve("resp_1", stream=True))) == len(events)
    attributes = memory.span.attributes
    assert attributes["error.type"] == "overloaded"
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert "gen_ai.response.status" not in attributes


@driving.needs_responses
def test_fetching_what_another_process_made(instrument: Any, client: Any, memory: Memory) -> None:
    """A response that this process did not make is known by its first fetch; what is no fetch is not traced."""
    made = client.responses.create(model=MODEL, input="Lisbon")
    instrument()
    first = client.responses.retrieve(made.id)
    again = client.responses.retrieve(made.id)
    assert spanback.reference(first) == spanback.reference(again)
    assert spanback.reference(first).span_id == memory.spans[0].context.span_id
    memory.clear()
    client.responses.cancel(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(made.id)
    assert memory.spans == []
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_lost")
    assert memory.span.attributes["gen_ai.response.id"] == "resp_lost"


def test_the_index_is_bounded(instrument: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses that are never asked for again leave no more than the index's limit behind."""
    monkeypatch.setattr(RESPONSES, "_limit", 3)
    instrument()
    ids = [client.chat.completions.create(model=MODEL, messages=MESSAGES).id for _ in range(5)]
    assert [RESPONSES.find(one) is not None for one in ids] == [False, False, True, True, True]


def test_many_threads(instrument: Any, client: Any, memory: Memory) -> None:
    """A hundred calls at once have a hundred spans, and each response refers to its own."""
    instrument(capture_content=True)

    def call(number: int) -> tuple[int, str]:
        response = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"no. {number}"}])
        return spanback.reference(response).span_id, f"no. {number}"

    with ThreadPoolExecutor(20) as pool:
        expected = dict(pool.map(call, range(100)))
    spans = {span.context.span_id: span.attributes["gen_ai.input.messages"] for span in memory.spans}
    assert len(spans) == 100
    assert all(f'"{text}"' in spans[span_id] for span_id, text in expected.items())


async def test_many_tasks(instrument: Any, connect: Any, memory: Memory, server: LoopbackServer) -> None:
    """A hundred streams at once in one loop have a hundred spans, siblings under the caller's."""
    instrument()
    client = connect(is_async=True)
    with memory.tracer_provider.get_tracer("app").start_as_current_span("request") as request:

        async def call() -> int:
            stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            return spanback.reference((await driving.read(stream))[0]).span_id

        ids = await asyncio.gather(*(call() for _ in range(100)))
    calls = [span for span in memory.spans if span.name != "request"]
    assert {span.context.span_id for span in calls} == set(ids)
    assert len(calls) == 100
    assert {span.parent.span_id for span in calls} == {request.get_span_context().span_id}
    assert len(server.requests) == 100
