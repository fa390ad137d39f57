"""What a span says of a request and of a response: every attribute, of the right type, and nothing that was not given."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from functools import reduce
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import openai
import pydantic
import pytest

from spanback.demo._loopback import LoopbackServer
from spanback.instrumentation._adapter import field_of, member, members, text, whole
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _chat, _responses
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import ANSWER, BODIES, MESSAGES, MODEL

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
ASK_WEATHER = [{"role": "user", "content": "What is the weather?"}]


class Effort(str, enum.Enum):
    """An enum of texts, as apps define them."""

    LOW = "low"


@pytest.fixture
def attributes_of(instrument: Callable[..., None], client: Any, memory: Memory) -> Callable[..., dict[str, Any]]:
    """Makes a call to an endpoint and gives the span's attributes."""

    def call(endpoint: str, **body: Any) -> dict[str, Any]:
        instrument()
        resource = driving.resource_of(client, endpoint)
        if resource is None:
            pytest.skip(f"this release of openai has no {endpoint}")
        response = resource.create(**{"model": MODEL, **BODIES[endpoint], **body})
        if body.get("stream") is True:
            list(response)
        return dict(memory.span.attributes or {})

    return call


REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("chat", {"temperature": 1}, {"gen_ai.request.temperature": 1.0}),
    ("chat", {"temperature": 0.5}, {"gen_ai.request.temperature": 0.5}),
    ("chat", {"top_p": 0.9}, {"gen_ai.request.top_p": 0.9}),
    ("chat", {"frequency_penalty": -2}, {"gen_ai.request.frequency_penalty": -2.0}),
    ("chat", {"presence_penalty": 0.25}, {"gen_ai.request.presence_penalty": 0.25}),
    ("chat", {"max_tokens": 100}, {"gen_ai.request.max_tokens": 100}),
    ("chat", {"extra_body": {"max_completion_tokens": 50}}, {"gen_ai.request.max_tokens": 50}),
    ("chat", {"seed": 7}, {"gen_ai.request.seed": 7}),
    ("chat", {"n": 1}, {}),
    ("chat", {"service_tier": "auto"}, {}),
    ("chat", {"service_tier": "default"}, {"openai.request.service_tier": "default"}),
    ("chat", {"stop": "END"}, {"gen_ai.request.stop_sequences": ("END",)}),
    ("chat", {"stop": ["a", "b"]}, {"gen_ai.request.stop_sequences": ("a", "b")}),
    ("chat", {"stop": []}, {}),
    ("chat", {"response_format": {"type": "json_object"}}, {"gen_ai.output.type": "json"}),
    ("chat", {"response_format": {"type": "text"}}, {"gen_ai.output.type": "text"}),
    ("chat", {"response_format": {"type": "grammar"}}, {}),
    (
        "completions",
        {"max_tokens": 100, "stop": "."},
        {"gen_ai.request.max_tokens": 100, "gen_ai.request.stop_sequences": (".",)},
    ),
    ("embeddings", {"dimensions": 8}, {"gen_ai.embeddings.dimension.count": 8}),
    ("embeddings", {"encoding_format": "float"}, {"gen_ai.request.encoding_formats": ("float",)}),
    ("responses", {"temperature": 1, "top_p": 0.5}, {"gen_ai.request.temperature": 1.0, "gen_ai.request.top_p": 0.5}),
    ("responses", {"max_output_tokens": 64}, {"gen_ai.request.max_tokens": 64}),
    ("responses", {"previous_response_id": "resp_0"}, {"gen_ai.request.previous_response.id": "resp_0"}),
    ("responses", {"service_tier": "auto"}, {}),
    ("responses", {"service_tier": "flex"}, {"openai.request.service_tier": "flex"}),
    ("responses", {"text": {"format": {"type": "text"}}}, {"gen_ai.output.type": "text"}),
    ("responses", {"text": {"verbosity": "low"}}, {}),
    ("responses", {"conversation": "conv_1"}, {"gen_ai.conversation.id": "conv_1"}),
    ("responses", {"conversation": {"id": "conv_2"}}, {"gen_ai.conversation.id": "conv_2"}),
    (
        "responses",
        {"prompt": {"id": "pmpt_1", "version": "3"}},
        {"gen_ai.prompt.name": "pmpt_1", "gen_ai.prompt.version": "3"},
    ),
]
OF_THE_REQUEST = (
    "gen_ai.request.", "gen_ai.output.type", "gen_ai.embeddings.", "openai.request.", "gen_ai.conversation.", "gen_ai.prompt.",
)  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body", "expected"), REQUESTS, ids=lambda value: str(value)[:40])
def test_request_attributes(endpoint: str, body: Any, expected: dict[str, Any], attributes_of: Any) -> None:
    """What an app asks for is told in the conventions' types, and a default is not told."""
    attributes = attributes_of(endpoint, **body)
    told = {name: value for name, value in attributes.items() if name.startswith(OF_THE_REQUEST)}
    del told["gen_ai.request.model"]
    if "encoding_format" not in body:
        told.pop("gen_ai.request.encoding_formats", None)  # newer clients ask for base64 by themselves
    assert told == expected
    assert [type(told[name]) for name in expected] == [type(value) for value in expected.values()]


def test_new_request_attributes() -> None:
    """Fields that the oldest client does not know yet."""
    body = {
        "reasoning_effort": Effort.LOW,
        "modalities": ["text", "audio"],
        "max_tokens": 1,
        "max_completion_tokens": 2,
    }
    assert _chat.read_request(body) == {
        "gen_ai.request.max_tokens": 2,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "speech",
    }
    assert type(_chat.read_request(body)["gen_ai.request.reasoning.level"]) is str
    assert _responses.read_request({"reasoning": {"effort": "high"}})["gen_ai.request.reasoning.level"] == "high"


class Model(str, enum.Enum):
    """The app's models."""

    SMALL = "gpt-4o-mini"


def test_sentinels_and_enums_reach_no_span(attributes_of: Any) -> None:
    """`NOT_GIVEN`, `None` and members of enums set nothing or plain texts, and OpenTelemetry warns of none of them."""
    not_given = {"temperature": openai.NOT_GIVEN, "stop": openai.NOT_GIVEN, "response_format": openai.NOT_GIVEN}
    omitted = {"top_p": openai.Omit(), "modalities": openai.Omit()} if hasattr(openai, "Omit") else {}
    attributes = attributes_of("chat", model=Model.SMALL, seed=None, **not_given, **omitted)
    assert attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert type(attributes["gen_ai.request.model"]) is str
    assert not {"gen_ai.request.temperature", "gen_ai.request.seed", "gen_ai.request.top_p"} & attributes.keys()


def test_raw_bodies_with_values_of_any_type(instrument: Any, client: Any, memory: Memory) -> None:
    """A body that goes past the client's own checks sets only what has the attribute's type."""
    instrument()
    body = {
        "model": MODEL, "messages": MESSAGES, "temperature": "hot", "max_tokens": 7.5, "seed": True, "n": "2",
        "stop": [1, "x", None], "top_p": False, "service_tier": 3, "response_format": 5,
    }  # fmt: skip
    with pytest.raises(openai.APIError):
        client.post("/chat/completions", body={**body, "model": "error-400"}, cast_to=object)
    attributes = dict(memory.span.attributes or {})
    told = {name for name in attributes if name.startswith(OF_THE_REQUEST)}
    assert told == {"gen_ai.request.model", "gen_ai.request.stop_sequences"}
    assert attributes["gen_ai.request.stop_sequences"] == ("x",)


def test_half_surrogates_do_not_reach_an_exporter() -> None:
    """Half of a surrogate pair, for which an exporter would drop its whole batch, becomes a question mark."""
    assert text("a\ud800b") == "a?b"
    assert text("näh") == "näh"
    for read in (body_reader, response_reader):
        assert read(Field("k", "a", str))({"k": "\ud83d"}) == {"a": "?"}
    assert response_reader(Field("k", "a", str))(SimpleNamespace(k="\ud83d")) == {"a": "?"}
    assert _chat.texts(["\ud800", "", 3]) == ("?",)


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (int, 2**63 - 1, 2**63 - 1),
        (int, -(2**63), -(2**63)),
        (int, 2**63, None),
        (int, -(2**63) - 1, None),
        (float, 3, 3.0),
        (float, 10**400, None),
        (whole, 3.0, 3),
        (whole, 1e300, None),
        (whole, 2**63, None),
        (whole, True, None),
    ],
)
def test_numbers_beyond_64_bits_reach_no_exporter(kind: Any, value: Any, told: Any) -> None:
    """OTLP cannot carry them; they cost neither the other attributes nor a stack trace in the exporter."""
    expected = {"b": 1} if told is None else {"a": told, "b": 1}
    for read in (body_reader, response_reader):
        reader = read(Field("k", "a", kind), Field("l", "b", int))
        assert reader({"k": value, "l": 1}) == expected
        if read is response_reader:
            assert reader(SimpleNamespace(k=value, l=1)) == expected


def test_small_readers() -> None:
    """The readers take what has the right type and leave the rest."""
    assert (text(""), text(3), text(None)) == (None, None, None)
    assert (member({"a": 1}, "a"), member({}, "a"), member(object(), "a")) == (1, None, None)
    assert (members({"a": (1,)}, "a"), members({"a": "x"}, "a"), members(None, "a")) == ((1,), (), ())
    table = [Field("a", "a", float), Field("b", "b", int), Field("c", "c", int), Field("d", "d", int)]
    values = {"a": 1, "b": None, "c": "x", "d": True}
    assert body_reader(*table)(values) == {"a": 1.0}
    for response in (values, SimpleNamespace(**values), SimpleNamespace(a=1.0, c=2.5)):
        assert response_reader(*table)(response) == {"a": 1.0}


def test_nested_fields_are_read_where_they_are() -> None:
    """A path that ends early sets nothing and keeps nothing else from being read."""
    read = response_reader(Field("a.b.c", "x", int), Field("a.d", "y", str), Field("e", "z", lambda value: value * 2))
    for inner in (None, SimpleNamespace(b=None, d="text"), SimpleNamespace(b=SimpleNamespace(c=3), d="")):
        told = read(SimpleNamespace(a=inner, e=2))
        assert told["z"] == 4
        assert told.get("x") == (3 if inner is not None and inner.b is not None else None)
        assert told.get("y") == ("text" if inner is not None and inner.d else None)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_choices(n: int, stream: bool, attributes_of: Any) -> None:
    """Each choice has its reason, in the order of the choices."""
    attributes = attributes_of("chat", n=n, stream=stream)
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",) * n
    assert attributes.get("gen_ai.request.choice.count") == (n if n > 1 else None)


USAGE = ("input_tokens", "output_tokens", "cache_read.input_tokens", "reasoning.output_tokens")


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({}, (10, 15, 5, 0)),
        ({"model": "o3"}, (10, 31, 5, 16)),
        ({"model": "no-usage"}, (None,) * 4),
        ({"stream": True}, (None,) * 4),
        ({"stream": True, "stream_options": {"include_usage": True}}, (10, 15, 5, 0)),
        ({"stream": True, "stream_options": {"include_usage": True}, "n": 2}, (10, 32, 5, 0)),
        ({"stream": True, "stream_options": {"include_usage": True}, "model": "no-usage"}, (None,) * 4),
    ],
    ids=str,
)
def test_usage_is_told_and_never_guessed(body: Any, usage: tuple[int | None, ...], attributes_of: Any) -> None:
    """Tokens are as the provider counted them, in a last chunk without choices too; without usage there are none."""
    attributes = attributes_of("chat", **body)
    assert tuple(attributes.get(f"gen_ai.usage.{name}") for name in USAGE) == usage


def test_audio_tokens_are_told_when_there_are_any() -> None:
    """A zero of audio tokens is no news."""
    usage = {"prompt_tokens_details": {"audio_tokens": 4}, "completion_tokens_details": {"audio_tokens": 0}}
    assert _chat.read_response({"usage": usage}) == {"gen_ai.usage.audio.input_tokens": 4}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_tool_calls(endpoint: str, stream: bool, attributes_of: Any) -> None:
    """A model that asks for a tool finishes for that reason, in either API."""
    asked: dict[str, Any] = {"messages": ASK_WEATHER, "tools": [WEATHER]}
    if endpoint == "responses":
        tool = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
        asked = {"input": ASK_WEATHER, "tools": [tool]}
    assert attributes_of(endpoint, stream=stream, **asked)["gen_ai.response.finish_reasons"] == ("tool_calls",)


@driving.needs_responses
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "reasons", "error"),
    [
        ("incomplete-response", ("length",), None),
        ("failed-response", ("error",), "server_error"),
        ("content-null", ("stop",), None),
        ("o3", ("stop",), None),
    ],
)
def test_outcomes_of_responses(model: str, stream: bool, reasons: Any, error: str | None, attributes_of: Any) -> None:
    """The status of a response is told in the words of chat completions; a failed one is an error."""
    attributes = attributes_of("responses", model=model, stream=stream)
    assert (attributes["gen_ai.response.finish_reasons"], attributes.get("error.type")) == (reasons, error)


@pytest.mark.parametrize(
    ("response", "reasons"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, ("content_filter",)),
        ({"status": "incomplete"}, ("error",)),
        ({"status": "cancelled"}, ("cancelled",)),
        ({"status": "queued"}, None),
        ({"status": 3}, None),
    ],
)
def test_rarer_statuses(response: dict[str, Any], reasons: tuple[str, ...] | None) -> None:
    """A response that is not finished has no reason yet."""
    assert _responses.read_response(response).get("gen_ai.response.finish_reasons") == reasons


@driving.needs_responses
def test_an_error_event_is_an_error(attributes_of: Any, memory: Memory) -> None:
    """A stream of events that ends in an error event is a failed call, though the client raises nothing."""
    attributes = attributes_of("responses", model="error-in-stream", stream=True)
    assert attributes["error.type"] == "server_error"
    assert memory.span.status.description == "the response says that it failed"
    assert _responses.read_response({"status": "failed"})["error.type"] == "_OTHER"


@driving.needs_responses
def test_a_conversation_of_the_request_stays(attributes_of: Any) -> None:
    """A response that names no conversation takes nothing from what the request said."""
    assert attributes_of("responses", conversation="conv_1")["gen_ai.conversation.id"] == "conv_1"
    named = {"conversation": {"id": "conv_9"}}
    assert _responses.read_response(named)["gen_ai.conversation.id"] == "conv_9"


def test_usage_without_details() -> None:
    """A provider that tells the totals alone is taken at its word."""
    for usage in ({"prompt_tokens": 1, "completion_tokens": 2}, {"input_tokens": 1, "output_tokens": 2}):
        read = _chat.read_response if "prompt_tokens" in usage else _responses.read_response
        assert read({"usage": usage}) == {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2}


@driving.is_async
@pytest.mark.parametrize("content", [False, True])
async def test_generators_arrive_whole(
    content: bool, is_async: bool, instrument: Any, connect: Any, server: LoopbackServer
) -> None:
    """Messages and inputs that can be read only once reach the server as they were."""
    instrument(capture_content=content)
    client = connect(is_async=is_async)
    await driving.settled(client.chat.completions.create(model=MODEL, messages=(m for m in MESSAGES)))
    assert server.requests[-1].body["messages"] == MESSAGES
    await driving.settled(client.embeddings.create(model=MODEL, input=iter(["a", "b"])))
    assert server.requests[-1].body["input"] == ["a", "b"]


def test_the_response_is_what_it_was(instrument: Any, client: Any) -> None:
    """An instrumented call gives the client's own response."""
    instrument()
    response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert type(response) is openai.types.chat.ChatCompletion
    assert response.choices[0].message.content == ANSWER
    assert list(itertools.islice(response.to_dict(), 3)) == ["id", "choices", "created"]


class Answer(pydantic.BaseModel):
    """A model with one field and room for others, which counts what it is asked for in vain."""

    model_config = pydantic.ConfigDict(extra="allow")
    known: str | None = None
    asked: ClassVar[list[str]] = []

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            self.asked.append(name)
            return super().__getattr__(name)


class Slotted:
    """An object without a dict of its own."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known = "here"


class Usage(pydantic.BaseModel):
    """A model that lacks most of what is read, and takes anything."""

    model_config = pydantic.ConfigDict(extra="allow")
    count: Any = None


class Said(pydantic.BaseModel):
    """A model that holds others."""

    usage: Any = None
    id: Any = None


class Chunk(pydantic.BaseModel):
    """A chunk that has its usage, if any, with what no class names."""

    model_config = pydantic.ConfigDict(extra="allow")
    choices: Any


ROWS = (
    *(Field("id", "id", str), Field("usage.count", "count", int), Field("usage.time", "time", float)),
    *(
        Field("usage.more.zeros", "zeros", int, with_zero=False),
        Field("usage.more.double", "double", lambda x: x or None),
    ),
)
USAGES = [None, {}, {"count": 1}, {"count": "x", "time": 2, "more": {"zeros": 0, "double": 3}}, {"more": {"zeros": 5}}]


@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("outer", [dict, Said, SimpleNamespace, lambda **all_of_it: Usage(count=None, **all_of_it)])
@pytest.mark.parametrize("inner", [dict, Usage, SimpleNamespace, lambda **all_of_it: Said(id=1)])
def test_a_response_of_any_make_is_read_alike(outer: Any, inner: Any, usage: dict[str, Any] | None) -> None:
    """Dicts, models that lack fields or have others, and plain objects, each inside of each: the second time, too."""
    read = response_reader(*ROWS)
    nested = None if usage is None else {name: inner(**one) if name == "more" else one for name, one in usage.items()}
    response = outer(id="r", usage=None if nested is None else inner(**nested))
    found = {field.attribute: reduce(field_of, field.key.split("."), response) for field in ROWS}
    expected = {name: one for name, one in found.items() if one not in {None, "x"} and (name, one) != ("zeros", 0)}
    assert [read(response), read(response)] == [expected, expected]


@pytest.mark.parametrize("choice", [dict, Usage, SimpleNamespace])
@pytest.mark.parametrize("chunk", [dict, Chunk, SimpleNamespace, lambda **said: SimpleNamespace(usage=None, **said)])
def test_chunks_of_any_make_are_folded_alike(chunk: Any, choice: Any) -> None:
    """What ends a choice is found wherever a client keeps it, in chunks of which most say nothing."""
    silent = [chunk(choices=[choice(index=0, finish_reason=None)]) for _ in range(3)]
    folded = _chat.ChatChunks(False)
    folded.add([*silent, chunk(choices=[choice(index=0, finish_reason="stop")]), *silent])
    told = [one.finish_reason for one in folded.response().choices]
    assert told == (["stop"] if dict not in {chunk, choice} else [])


def test_token_counts_among_extra_fields_are_found() -> None:
    """In a chunk without choices, between others."""
    silent, folded = Chunk(choices=[]), _chat.ChatChunks(False)
    folded.add([silent, Chunk(choices=None, usage="counts"), silent])
    assert folded.response().usage == "counts"


def test_few_kinds_of_responses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that makes models at run time costs no memory; theirs are read all the same."""
    monkeypatch.setattr("spanback.instrumentation._tables._MOST_KINDS", 1)
    read = response_reader(*ROWS)
    for kind in (Usage, Said, type("Another", (Usage,), {})):
        assert read(kind(id="r", usage=Usage(count=1))) == {"id": "r", "count": 1}
    assert len(read.__globals__["lacking"]) == 1


def test_a_body_of_all_parameters_is_read_as_a_short_one() -> None:
    """Where more is passed on than is looked for, in any order and with an Ellipsis for what was not given."""
    read = body_reader(Field("a", "x", int), Field("b", "y", str))
    assert read({"z": 0, "b": "text", "a": 1, "c": ..., "d": None}) == {"x": 1, "y": "text"}
    assert read({"z": 0, "a": ..., "b": None, "c": ...}) == {}


@pytest.mark.parametrize(
    ("thing", "known", "more"),
    [
        (Answer(known="here", more=1), "here", 1),
        (Answer(), None, None),
        ({"known": "here", "more": 2}, "here", 2),
        (SimpleNamespace(known="here"), "here", None),
        (Slotted(), "here", None),
        (None, None, None),
    ],
)
def test_fields(thing: Any, known: Any, more: Any) -> None:
    """A field is found wherever it is, and a model is not asked for one that it has not got."""
    Answer.asked.clear()
    assert (field_of(thing, "known"), field_of(thing, "more"), field_of(thing, "nothing")) == (known, more, None)
    assert Answer.asked == []
