"""What LiteLLM tries again is one call: one span, from the first attempt to the answer that the app holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

pytest.importorskip("litellm")

import spanback
from spanback._spanref import LATEST_CALL, LatestCall
from spanback.instrumentation import _attempts
from spanback.instrumentation._adapter import Retries
from spanback.instrumentation._attempts import Retrying, Routing
from spanback.instrumentation._call import end_abandoned
from spanback.instrumentation.providers.litellm import ADAPTER
from tests.clients.cases import MODEL_ERROR
from tests.clients.conftest import settled
from tests.clients.litellm import ANSWER, CHAT, MESSAGES, Client, Sync, answers, for_app, litellm
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json
from tests.conftest import Memory

pytestmark = pytest.mark.filterwarnings(
    "ignore:Accessing the 'model_:DeprecationWarning", "ignore:Pydantic serializer:UserWarning"
)
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


class Flaky:
    """A server that is overloaded for the first requests of a test."""

    def __init__(self, server: WireServer) -> None:
        self.failures = 0
        self.models: list[str] = []
        self.base_url = server.base_url
        self.port = server.port
        server.speak(self.answer)

    def answer(self, request: WireRequest) -> WireAnswer:
        """An error as long as there is one left, and then what the providers say."""
        self.models.append(request.body["model"])
        if len(self.models) <= self.failures:
            return as_json({"error": {"message": "Overloaded", "type": "server_error"}}, 503)
        if request.body["model"] == "small":
            return as_json({"error": {"message": "This model's maximum context length is 9", "code": "long"}}, 400)
        return answers(request)


@pytest.fixture
def flaky(instrument: Any) -> Iterator[Flaky]:
    """The server, with spans for what is asked of it."""
    instrument()
    with WireServer().running() as server:
        yield Flaky(server)
    litellm.num_retries = None
    settle()
    assert _attempts._held == {}


@pytest.fixture
async def client(flaky: Flaky, request: pytest.FixtureRequest) -> Any:
    """LiteLLM's functions of one kind."""
    made = Client(flaky, request.getfixturevalue("is_async"))
    yield made
    await made.aclose()


def settle() -> None:
    """Lets go of the errors of a test."""
    litellm.error_logs.clear()
    gc.collect()
    end_abandoned()


async def read(got: Any) -> Any:
    """What an app holds in the end: a response, or the last chunk of a stream."""
    got = await settled(got)
    if hasattr(got, "__aiter__"):
        *_, got = [chunk async for chunk in got]
    elif isinstance(got, Sync):
        *_, got = got
    return got


@either
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_retries_are_one_span(client: Any, flaky: Flaky, memory: Memory, is_async: bool, is_stream: bool) -> None:
    """However often LiteLLM tries again, the call has one span, which has no error if it succeeds in the end."""
    flaky.failures = 2
    more = {"stream": True} if is_stream else {}
    got = await read(client.call("completion", model="openai/model-1", messages=MESSAGES, num_retries=3, **more))
    assert len(flaky.models) == 3
    span = memory.span
    assert (span.name, span.status.status_code) == ("chat model-1", StatusCode.UNSET)
    assert span.attributes["gen_ai.response.id"] == got.id
    assert span.attributes["server.port"] == flaky.port
    assert "error.type" not in span.attributes
    assert spanback.reference(got).span_id == span.context.span_id


@either
async def test_retries_that_fail(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """If no attempt succeeds, the one span has the error, and lasts as long as all of them."""
    flaky.failures = 9
    with pytest.raises(litellm.exceptions.ServiceUnavailableError):
        await read(client.call("completion", model="openai/model-1", messages=MESSAGES, num_retries=2))
    assert len(flaky.models) >= 2
    span = memory.span
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "ServiceUnavailableError")


@either
async def test_retries_by_policy(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """A policy says how often an error of a kind is tried again; what is not tried again ends at once."""
    policy = {"RateLimitErrorRetries": 2}
    call = {"messages": MESSAGES, "retry_policy": policy}
    with pytest.raises(litellm.exceptions.RateLimitError):
        await read(client.call("completion", model=f"openai/{MODEL_ERROR}", **call))
    assert memory.span.attributes["error.type"] == "RateLimitError"
    assert len(flaky.models) >= 2
    memory.clear()
    flaky.failures = len(flaky.models) + 1
    with pytest.raises(litellm.exceptions.ServiceUnavailableError):
        await read(client.call("completion", model="openai/model-1", **call))
    assert memory.span.attributes["error.type"] == "ServiceUnavailableError"


@either
async def test_a_context_that_is_too_long(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """The model that is asked instead of one with too small a window is in the same span."""
    others = {"openai/small": "openai/model-1"}
    got = await read(
        client.call("completion", model="openai/small", messages=MESSAGES, context_window_fallback_dict=others)
    )
    assert flaky.models == ["small", "model-1"]
    assert (memory.span.name, memory.span.status.status_code) == ("chat model-1", StatusCode.UNSET)
    assert spanback.reference(got).span_id == memory.span.context.span_id


class Routers:
    """Routers over deployments whose models have the names of what they do."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def call(self, *models: str, stream: bool = False, name: str = "completion", **choices: Any) -> Any:
        """A call of the first of the models, with the others to fall back to."""
        given = {"api_base": f"{self._client.base_url}/v1", **self._client.given}
        deployments = [
            {"model_name": model, "litellm_params": {"model": f"openai/{model}", **given}} for model in models
        ]
        choices = {"num_retries": 0, "retry_after": 0, "fallbacks": [{models[0]: list(models[1:])}], **choices}
        router = litellm.Router(deployments, **choices)
        function = getattr(router, f"a{name}" if self._client.is_async else name)
        asked = {"input": ["Kyoto"]} if name == "embedding" else {"messages": MESSAGES, "stream": stream}
        return for_app(function(model=models[0], **asked), asked, is_async=self._client.is_async)


@either
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_fallbacks_are_one_span(
    client: Any, flaky: Flaky, memory: Memory, is_async: bool, is_stream: bool
) -> None:
    """Where a router falls back to another model, the span is that of the model that has answered."""
    got = await read(Routers(client).call(MODEL_ERROR, "model-1", stream=is_stream))
    assert set(flaky.models) == {MODEL_ERROR, "model-1"}
    span = memory.span
    assert (span.name, span.status.status_code) == ("chat model-1", StatusCode.UNSET)
    assert span.attributes["gen_ai.request.model"] == "model-1"
    assert span.attributes["gen_ai.response.id"] == got.id
    assert "error.type" not in span.attributes
    reference = spanback.reference(got)
    assert (reference.span_id, reference.request_model) == (span.context.span_id, "model-1")


@either
async def test_a_router_that_tries_again(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """The attempts of a router are one call, whatever they are for."""
    flaky.failures = 1
    got = await read(Routers(client).call("model-1", name="embedding", num_retries=2))
    assert len(flaky.models) == 2
    assert memory.span.name == "embeddings model-1"
    assert spanback.reference(got).span_id == memory.span.context.span_id


@either
async def test_a_router_that_gives_up(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """If no model answers, the one span has the error that the app gets."""
    with pytest.raises(litellm.exceptions.RateLimitError):
        await read(Routers(client).call(MODEL_ERROR, MODEL_ERROR))
    span = memory.span
    assert (span.name, span.attributes["error.type"]) == (f"chat {MODEL_ERROR}", "RateLimitError")


@pytest.mark.parametrize("is_async", [True], ids=["async"])
async def test_a_router_after_uninstrument(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """It has its own method again."""
    wrapped = litellm.Router.async_function_with_fallbacks
    assert wrapped.__wrapped__ is not wrapped
    spanback.uninstrument()
    assert litellm.Router.async_function_with_fallbacks is wrapped.__wrapped__
    await read(Routers(client).call(MODEL_ERROR, "model-1"))
    assert memory.counted.started == 0


@pytest.mark.parametrize("is_async", [False], ids=["sync"])
async def test_an_attempt_that_does_not_follow(
    client: Any, flaky: Flaky, memory: Memory, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where LiteLLM does not try again after all, the span ends as soon as nobody has the error anymore."""
    stopped = RuntimeError("the app's own")

    def stop(*_: Any, **__: Any) -> None:
        raise stopped

    monkeypatch.setattr(litellm, "completion_with_retries", stop)
    flaky.failures = 9
    with pytest.raises(RuntimeError):
        await read(client.call("completion", model="openai/model-1", messages=MESSAGES, num_retries=2))
    assert memory.counted.ended == 0
    stopped.__traceback__ = stopped.__context__ = None
    settle()
    assert memory.span.attributes["error.type"] == "ServiceUnavailableError"
    flaky.failures = 0
    assert client.call("completion", model="openai/model-1", messages=MESSAGES).choices[0].message.content == ANSWER
    assert CHAT["gen_ai.request.model"] == memory.spans[-1].attributes["gen_ai.request.model"]


OVERLOADED = litellm.exceptions.ServiceUnavailableError("Overloaded", "openai", "model-1")


@pytest.mark.parametrize(
    ("error", "kwargs", "left"),
    [
        (OVERLOADED, {"num_retries": 2}, 2),
        (OVERLOADED, {"num_retries": 2, "litellm_logging_obj": {"call_type": "completion"}}, 2),
        (OVERLOADED, {"num_retries": 2, "litellm_logging_obj": {"call_type": "acompletion"}}, 1),
        (OVERLOADED, {"num_retries": 2, "metadata": {"model_group": "any"}}, 0),
        (OVERLOADED, {"metadata": None}, 0),
        (OVERLOADED, {"context_window_fallback_dict": {"model-1": "model-2"}, "model": "model-1"}, 0),
        (RuntimeError("not the provider's"), {"num_retries": 2}, 0),
    ],
)
def test_how_many_attempts_may_follow(
    error: Exception, kwargs: dict[str, Any], left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told as LiteLLM tells it; in older releases its async function tries again once."""
    monkeypatch.setattr(litellm, "acompletion_with_retries", lambda: None)
    assert ADAPTER.targets[0].endpoint.retries.left(error, kwargs) == left


def test_functions_that_only_routers_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text completions and embeddings are never tried again by LiteLLM itself, and responses not by its older releases."""
    monkeypatch.delattr(litellm, "responses_with_retries", raising=False)
    for target in ADAPTER.targets[2:8]:
        assert target.endpoint.retries.left(OVERLOADED, {"num_retries": 2}) == 0


@either
async def test_responses_are_tried_again(client: Any, flaky: Flaky, memory: Memory, is_async: bool) -> None:
    """So are responses, where the release does that."""
    if not hasattr(litellm, "responses_with_retries"):
        pytest.skip("this release does not try responses again")
    flaky.failures = 1
    got = await read(client.call("responses", model="openai/model-1", input="When?", num_retries=2))
    assert len(flaky.models) == 2
    assert memory.span.status.status_code is StatusCode.UNSET
    assert spanback.reference(got).span_id == memory.span.context.span_id


@pytest.mark.parametrize("is_async", [True], ids=["async"])
async def test_attempts_of_a_call_that_is_not_sampled(
    client: Any, flaky: Flaky, memory: Memory, instrument: Any, is_async: bool
) -> None:
    """What the app holds, and what a web server hands out, refers to the one call that no span is kept of."""
    instrument(tracer_provider=TracerProvider(sampler=ALWAYS_OFF), meter_provider=NoOpMeterProvider())
    token = LATEST_CALL.set(LatestCall())
    got = await read(Routers(client).call(MODEL_ERROR, "model-1"))
    latest = LATEST_CALL.get().reference()
    LATEST_CALL.reset(token)
    assert (latest.request_model, latest.response_id, latest.sampled) == ("model-1", got.id, False)
    assert spanback.reference(got) == latest
    assert memory.counted.started == 0


def test_a_call_without_a_name_is_not_held() -> None:
    """Only calls that LiteLLM names can be told again, and what interrupts the app is never tried again."""
    call = SimpleNamespace(end=lambda **_: None)
    retries = Retries(lambda kwargs: kwargs.get("name"), lambda _error, _kwargs: 1)
    assert not Retrying(retries, {}).hold(call, OVERLOADED)
    assert not Retrying(retries, {"name": "call-1"}).hold(call, KeyboardInterrupt())
    assert Retrying(retries, {}).resume() is None


def test_attempts_side_by_side() -> None:
    """Of two attempts that have failed at once, one goes on and the other ends."""
    ended: list[Any] = []
    first, second = (SimpleNamespace(end=lambda error, n=number: ended.append((n, error))) for number in (1, 2))
    routing = Routing()
    assert routing.hold(first, OVERLOADED)
    assert routing.hold(second, OVERLOADED)
    assert ended == [(1, OVERLOADED)]
    routing.end()
    assert ended == [(1, OVERLOADED), (2, OVERLOADED)]
    assert routing.resume() is None
