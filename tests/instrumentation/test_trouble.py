"""Whatever a server, a provider or the app itself does wrong: the app gets what it would have got, and one span ends."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

import spanback
from spanback.instrumentation import _call
from spanback.instrumentation._adapter import Received, Request
from spanback.instrumentation.providers.openai import ADAPTER
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import ANSWER, BODIES, MESSAGES, MODEL

ODD = ["no-choices", "no-usage", "content-null", "refusal", "html", "not-json", "empty-stream"]


async def attempt(client: Any, endpoint: str, model: str, stream: bool) -> Any:
    """What an app sees of a call: the response, the chunks, or the exception's type and text."""
    body = {"model": model, **BODIES[endpoint]}
    try:
        found = await driving.settled(
            driving.resource_of(client, endpoint).create(**body, **({"stream": True} if stream else {}))
        )
        found = await driving.read(found) if stream and hasattr(found, "_iterator") else found
    except Exception as error:  # noqa: BLE001 - any of them is what the app would see
        return type(error), str(error)
    return [chunk.model_dump() for chunk in found] if isinstance(found, list) else getattr(found, "model_dump", str)()


def without_ids(value: Any) -> Any:
    """The value without ids, which count the server's calls."""
    if isinstance(value, dict):
        return {name: without_ids(one) for name, one in value.items() if name not in {"id", "item_id"}}
    return [without_ids(one) for one in value] if isinstance(value, list) else value


@driving.is_async
@driving.either_way
@pytest.mark.parametrize("model", ODD)
async def test_odd_answers(endpoint: str, model: str, stream: bool, is_async: bool, bench: Any) -> None:
    """An app sees of an odd answer exactly what it sees without spanback, and the span ends without complaint."""
    client = bench.connect(is_async=is_async)
    if driving.resource_of(client, endpoint) is None:
        pytest.skip(f"this release of openai has no {endpoint}")
    before = await attempt(client, endpoint, model, stream)
    bench.instrument(capture_content="span_and_event")
    after = await attempt(client, endpoint, model, stream)
    assert without_ids(after) == without_ids(before)
    assert bench.memory.span.name.endswith(f" {model}")


def test_an_html_page_is_no_error(instrument: Any, client: Any, memory: Memory) -> None:
    """A proxy's page reaches the app as the text that it is; the span has nothing to say of a response."""
    instrument()
    assert client.chat.completions.create(model="html", messages=MESSAGES) == (
        "<html><body>Welcome to the proxy.</body></html>"
    )
    assert memory.span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.id" not in (memory.span.attributes or {})


class Raising(SpanProcessor):
    """A processor that raises at a span's start or end."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Raises if it is to."""
        if self.at == "start":
            raise RuntimeError("start")

    def on_end(self, span: Any) -> None:
        """Raises if it is to."""
        if self.at == "end":
            raise RuntimeError("end")


@driving.is_async
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize(("at", "complaint"), [("start", "begin raised"), ("end", "raised; the app goes on")])
async def test_processors_that_raise(at: str, complaint: str, stream: bool, is_async: bool, bench: Any) -> None:
    """A span processor that raises changes nothing for the app."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising(at))
    bench.instrument(tracer_provider=provider)
    found = await attempt(bench.connect(is_async=is_async), "chat", MODEL, stream)
    assert ANSWER in str(found) if not stream else len(found) == 17
    assert any(complaint in message for message in bench.complaints.take())


@driving.is_async
async def test_a_response_whose_span_cannot_end_can_be_rated(is_async: bool, bench: Any) -> None:
    """The response carries its handle also where a processor raises as the span ends."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising("end"))
    bench.instrument(tracer_provider=provider)
    client = bench.connect(is_async=is_async)
    for create in (client.chat.completions.create, client.chat.completions.with_raw_response.create):
        found = await driving.settled(create(model=MODEL, messages=MESSAGES))
        assert vars(found)["_spanback"][4] == "openai"
    assert set(bench.complaints.take()) == {"end_or_watch raised; the app goes on"}


def test_an_abandoned_call_whose_end_fails(instrument: Any, client: Any, memory: Memory, complaints: Any) -> None:
    """The next call, which ends it, is recorded, and so are the ends that come after it."""

    def fails() -> None:
        raise IndexError("broken")

    ended: list[int] = []
    instrument()
    _call.ABANDONED.extend((fails, lambda: ended.append(1)))
    client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert memory.span.name == f"chat {MODEL}"
    assert ended == [1]
    assert len(complaints.take()) == 1


@pytest.mark.parametrize("odd", [{b"\xff": 1}, {frozenset([1]): 1}])
def test_content_that_json_has_no_form_for(
    odd: Any, instrument: Any, client: Any, memory: Memory, complaints: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out alone: all else is on the span, and the response is known by its id."""
    endpoint = ADAPTER.endpoints["post /chat/completions"]
    fields = {field: getattr(endpoint, field) for field in endpoint.__dataclass_fields__}
    changed = type(endpoint)(**{**fields, "read_input": lambda _body, _clip: {"gen_ai.input.messages": odd}})
    monkeypatch.setitem(ADAPTER.endpoints, "post /chat/completions", changed)
    instrument(capture_content=True)
    response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    attributes = dict(memory.span.attributes or {})
    assert "gen_ai.input.messages" not in attributes
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert ANSWER in attributes["gen_ai.output.messages"]
    assert spanback.reference(response.id) is not None
    assert complaints.take() == ["_written raised; the app goes on"]


class Tracer:
    """A tracer that raises, of a provider that some app has written."""

    def get_tracer(self, *_args: Any, **_kwargs: Any) -> Tracer:
        """Itself."""
        return self

    def start_span(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raises."""
        raise RuntimeError("start_span")


def test_a_tracer_that_raises(instrument: Any, client: Any, complaints: Any) -> None:
    """A tracer that raises changes nothing for the app."""
    instrument(tracer_provider=Tracer())
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content == ANSWER
    assert complaints.take() == ["begin raised; the app goes on"]


class Logger(LoggerProvider):
    """A logger that raises."""

    def get_logger(self, *_args: Any, **_kwargs: Any) -> Any:
        """Something that raises at everything."""
        return SimpleNamespace()


def test_a_logger_that_raises(instrument: Any, client: Any, memory: Memory, complaints: Any) -> None:
    """An event that cannot be sent leaves the span and the app's exception as they are."""
    instrument(logger_provider=Logger(shutdown_on_exit=False))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="error-429", messages=MESSAGES)
    assert memory.span.status.status_code is StatusCode.ERROR
    assert complaints.take() == ["Call.fail raised; the app goes on"]


@pytest.mark.parametrize(
    "name", ["read_request", "read_response", "read_input", "read_output", "accumulator", "read_dimensions"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_readers_that_raise(name: str, stream: bool, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that cannot read a response of tomorrow costs its attributes, and nothing else."""
    endpoint = ADAPTER.endpoints["post /chat/completions"]

    def read_tomorrow(*_args: Any) -> Any:
        raise LookupError("tomorrow")

    fields = {field: getattr(endpoint, field) for field in endpoint.__dataclass_fields__}
    changed = type(endpoint)(**{**fields, name: read_tomorrow})
    monkeypatch.setitem(ADAPTER.endpoints, "post /chat/completions", changed)
    bench.instrument(capture_content=True)
    found = bench.connect().chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
    assert len(list(found)) == 17 if stream else found.choices[0].message.content == ANSWER
    assert bench.memory.span.status.status_code is StatusCode.UNSET
    assert bool(bench.complaints.take()) is (stream or name != "accumulator")


@driving.is_async
async def test_a_result_that_cannot_be_sorted(is_async: bool, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of tomorrow that no adapter can sort is the app's all the same, and its span ends."""

    def sort(*_args: Any) -> Any:
        raise LookupError("tomorrow")

    monkeypatch.setattr(type(ADAPTER), "sort", sort)
    bench.instrument()
    client = bench.connect(is_async=is_async)
    found = await driving.settled(client.chat.completions.create(model=MODEL, messages=MESSAGES))
    assert found.choices[0].message.content == ANSWER
    assert bench.memory.span.name == f"chat {MODEL}"
    assert bench.complaints.take() == ["end_or_watch raised; the app goes on"]


def test_a_raw_response_that_is_no_json(instrument: Any, client: Any, memory: Memory) -> None:
    """A raw response that cannot be parsed ends its span, and raises when the app parses it."""
    instrument()
    raw = client.chat.completions.with_raw_response.create(model="not-json", messages=MESSAGES)
    assert memory.span.status.status_code is StatusCode.UNSET
    with pytest.raises(ValueError, match="Unterminated string"):
        raw.parse()


BOOM = [KeyboardInterrupt("stop"), SystemExit(3), ValueError("hook"), asyncio.CancelledError("enough")]


@driving.is_async
@pytest.mark.parametrize("error", BOOM, ids=lambda error: type(error).__name__)
async def test_exceptions_pass_unchanged(error: BaseException, is_async: bool, bench: Any) -> None:
    """Any exception passes by identity, with its cause and its own frames, and the span names its type."""
    bench.instrument()
    error.__cause__ = cause = LookupError("why")
    client = bench.connect(is_async=is_async)

    def raising(_options: Any) -> Any:
        raise error

    async def async_raising(_options: Any) -> Any:
        raise error

    client._prepare_options = async_raising if is_async else raising
    with pytest.raises(type(error)) as raised:
        await driving.settled(client.chat.completions.create(model=MODEL, messages=MESSAGES))
    assert raised.value is error
    assert raised.value.__cause__ is cause
    assert "raising" in traceback.extract_tb(error.__traceback__)[-1].name
    assert bench.memory.span.attributes["error.type"] == type(error).__qualname__
    assert bench.memory.span.status.description == ("3" if isinstance(error, SystemExit) else "")  # its code
    assert {log.attributes["exception.type"] for log in bench.memory.logs} == {
        "asyncio.exceptions.CancelledError" if isinstance(error, asyncio.CancelledError) else type(error).__qualname__
    }
    error.__traceback__ = None


def test_a_refused_connection(instrument: Any, connect: Any, memory: Memory) -> None:
    """A connection that breaks is the client's own error with its cause."""
    instrument()
    with pytest.raises(openai.APIConnectionError) as raised:
        connect().chat.completions.create(model="drop", messages=MESSAGES)
    assert type(raised.value.__cause__).__name__ == "RemoteProtocolError"
    assert (memory.span.attributes or {})["error.type"] == "APIConnectionError"
    assert memory.span.status.description == ""


class Unprintable(openai.OpenAIError):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    @property
    def status_code(self) -> int:
        """There is none."""
        raise RuntimeError("no status")


@pytest.mark.parametrize(
    ("capture_content", "raising"), [(True, {"str", "getattr"}), (None, {"getattr"})], ids=["its text", "its status"]
)
def test_an_exception_that_cannot_be_read(
    capture_content: bool | None, raising: set[str], instrument: Any, client: Any, memory: Memory, complaints: Any
) -> None:
    """The span says by its type that the call failed, and how long it took, all the same."""
    instrument(capture_content=capture_content)

    def fails(_options: Any) -> Any:
        raise Unprintable

    client._prepare_options = fails
    with pytest.raises(Unprintable):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (memory.span.attributes or {})["error.type"] == "Unprintable"
    assert memory.span.status.status_code is StatusCode.ERROR
    assert "gen_ai.client.inference.duration" in memory.metrics()
    assert set(complaints.take()) == {f"{name} raised; the app goes on" for name in raising}


def test_a_provider_of_invalid_spans_is_left_alone(instrument: Any, client: Any) -> None:
    """A tracer whose spans have no ids records nothing, and the response carries nothing."""
    nothing = SimpleNamespace(start_span=lambda *_args, **_kwargs: trace.INVALID_SPAN)
    instrument(tracer_provider=SimpleNamespace(get_tracer=lambda *_args: nothing))
    response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert not hasattr(response, "_spanback")


def test_spans_that_do_not_record_are_only_referred_to(instrument: Any, client: Any) -> None:
    """A span of another SDK that does not record is not written to, but feedback can refer to it."""
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0))
    tracer = SimpleNamespace(start_span=lambda *_args, **_kwargs: NonRecordingSpan(context))
    instrument(tracer_provider=SimpleNamespace(get_tracer=lambda *_args: tracer))
    response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert response._spanback[:3] == (1, 2, 0)


@pytest.mark.odd_telemetry("")  # the test makes the span itself
@pytest.mark.parametrize("slot", [iter([1, 2]), (number for number in (1, 2))])
def test_streams_of_other_kinds(slot: Any, memory: Memory, instrument: Callable[..., None]) -> None:
    """A stream whose inside is no generator, or that has no body to close, is read as before."""
    from spanback.instrumentation._around import end_or_watch

    instrument()
    request = Request(ADAPTER.endpoints["post /embeddings"], "openai", None, {}, True, None, None)
    span = memory.tracer_provider.get_tracer("spanback").start_span("embeddings")
    call = _call.Call(request, span, Context(), 1, is_own=True)
    stream = SimpleNamespace(slot=slot)
    adapter: Any = SimpleNamespace(sort=lambda _request, result: Received(stream=result, slot="slot"))
    assert end_or_watch(adapter, call, stream)
    assert list(stream.slot) == [1, 2]
    assert memory.span.name == "embeddings"
