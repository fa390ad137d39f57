"""The loopback server, seen through the real client."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from typing import Any
from urllib.error import HTTPError

import openai
import pytest
from pydantic import BaseModel

from spanback.demo._loopback import LoopbackServer
from tests.demo.conftest import ANSWER, MESSAGES, QUESTION, create, make_client, needs_responses

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}
CALLS = [
    pytest.param(endpoint, is_async, stream, marks=needs_responses if endpoint == "responses" else ())
    for endpoint in ("chat", "responses", "completions", "embeddings")
    for is_async in (False, True)
    for stream in (False, True)
    if not (endpoint == "embeddings" and stream)
]


class Trip(BaseModel):
    """What a structured output holds."""

    city: str
    days: int
    stops: list[str]


def text_of(endpoint: str, answered: Any) -> str:
    """The text that any endpoint answered, streamed or not."""
    if isinstance(answered, list):
        if endpoint == "responses":
            return "".join(event.delta for event in answered if event.type == "response.output_text.delta")
        choices = [chunk.choices[0] for chunk in answered if chunk.choices]
        return "".join(choice.text if endpoint == "completions" else choice.delta.content or "" for choice in choices)
    if endpoint == "responses":
        return answered.output_text
    choice = answered.choices[0]
    return choice.text if endpoint == "completions" else choice.message.content


@pytest.mark.parametrize(("endpoint", "is_async", "stream"), CALLS)
def test_every_endpoint_answers_every_kind_of_client(server, endpoint, is_async, stream):
    """The text, the dated model and the id are those of the table, streamed or not, sync or async."""
    answered = create(server, endpoint, is_async=is_async, **({"stream": True} if stream else {}))
    if endpoint == "embeddings":
        assert len(answered.data[0].embedding) == 1_536
        assert answered.usage.prompt_tokens == 10
        return
    assert text_of(endpoint, answered) == ANSWER
    last = answered[-1] if stream else answered
    last = last.response if endpoint == "responses" and stream else last
    assert last.model == "gpt-4o-mini-2024-07-18"
    assert last.id.startswith({"chat": "chatcmpl-", "responses": "resp_", "completions": "cmpl-"}[endpoint])


ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


@pytest.mark.parametrize(("endpoint", "is_async", "stream"), CALLS)
@pytest.mark.parametrize("status", ERRORS)
def test_an_error_is_what_the_client_knows_it_as(server, endpoint, is_async, stream, status):
    """Each status arrives as the client's own exception, with OpenAI's body, at once."""
    with pytest.raises(ERRORS[status]) as caught:
        create(server, endpoint, is_async=is_async, model=f"error-{status}", **({"stream": True} if stream else {}))
    assert caught.value.status_code == status
    assert caught.value.type.endswith("_error")


@pytest.mark.parametrize(("endpoint", "is_async", "stream"), CALLS)
def test_a_dropped_connection_is_a_connection_error(server, endpoint, is_async, stream):
    """`drop` closes the connection before any answer."""
    with pytest.raises(openai.APIConnectionError):
        create(server, endpoint, is_async=is_async, model="drop", **({"stream": True} if stream else {}))


STREAMS = [pytest.param(*call.values[:2], marks=call.marks) for call in CALLS if call.values[2]]


@pytest.mark.parametrize(("endpoint", "is_async"), STREAMS)
def test_a_broken_stream_raises(server, endpoint, is_async):
    """`broken-stream` closes the connection in the midst of the stream."""
    # Older releases pass the HTTP library's own exception on.
    with pytest.raises(Exception, match=r"Connection error|peer closed connection"):
        create(server, endpoint, is_async=is_async, model="broken-stream", stream=True)


@pytest.mark.parametrize(("endpoint", "is_async"), STREAMS)
def test_an_error_in_a_stream_arrives_after_three_events(server, endpoint, is_async):
    """`error-in-stream` ends a stream with the provider's error event."""
    if endpoint == "responses":
        events = create(server, endpoint, is_async=is_async, model="error-in-stream", stream=True)
        assert [event.type for event in events][3:] == ["error"]
        return
    with pytest.raises(openai.APIError, match="The server had an error"):
        create(server, endpoint, is_async=is_async, model="error-in-stream", stream=True)


@pytest.mark.parametrize(("endpoint", "is_async"), STREAMS)
def test_streams_can_be_empty_long_or_slow(server, endpoint, is_async):
    """`empty-stream` has no event, `many-chunks-N` N texts, and `slow-stream` the usual ones."""
    assert create(server, endpoint, is_async=is_async, model="empty-stream", stream=True) == []
    many = create(server, endpoint, is_async=is_async, model="many-chunks-500", stream=True)
    assert text_of(endpoint, many) == "word " * 500
    assert len(many) == {"chat": 502, "responses": 508, "completions": 500}[endpoint]
    slow = create(server, endpoint, is_async=is_async, model="slow-stream-2", stream=True)
    assert text_of(endpoint, slow) == ANSWER


@pytest.mark.parametrize("endpoint", ["chat", pytest.param("responses", marks=needs_responses), "completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_bodies_that_are_no_answer(server, endpoint, stream):
    """`html` and `not-json` are passed on as the client takes them."""
    html = create(server, endpoint, is_async=False, model="html", stream=stream)
    assert html == ([] if stream else "<html><body>Welcome to the proxy.</body></html>")
    if stream:
        assert create(server, endpoint, is_async=False, model="not-json", stream=True) == []
    else:
        with pytest.raises(json.JSONDecodeError):
            create(server, endpoint, is_async=False, model="not-json")


def test_ids_count_the_calls_of_a_server():
    """Two servers that get the same calls give the same ids, and record the requests without the key."""
    for _ in range(2):
        with LoopbackServer(keep=2) as server:
            assert [create(server, "chat", is_async=False).id for _ in range(3)] == [
                "chatcmpl-000001",
                "chatcmpl-000002",
                "chatcmpl-000003",
            ]
            assert len(server.requests) == 2
            request = server.requests[-1]
            assert (request.method, request.path, request.query) == ("POST", "/v1/chat/completions", {})
            assert request.body == {"messages": MESSAGES, "model": "gpt-4o-mini"}
            assert "authorization" not in request.headers
            assert request.headers["content-type"] == "application/json"


def test_usage_names_cached_and_reasoning_tokens(client):
    """A model that thinks spends 16 tokens on it, and half of the prompt was cached."""
    usage = client.chat.completions.create(model="o3", messages=MESSAGES).to_dict()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (10, 31, 41)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 5
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 16


def test_usage_ends_a_stream_only_when_asked_for(client):
    """With `include_usage` the last chunk has usage and no choices; `no-usage` leaves it out."""
    body = {"messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model="gpt-4.1", **body))
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 15)
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert all(chunk.choices for chunk in client.chat.completions.create(model="no-usage", **body))
    prompt = {"prompt": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    assert list(client.completions.create(model="gpt-4.1", **prompt))[-1].usage.completion_tokens == 15
    assert client.completions.create(model="no-usage", prompt=QUESTION).usage is None
    assert client.chat.completions.create(model="no-usage", messages=MESSAGES).usage is None


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(client, stream):
    """`n` asks for several answers, which a stream gives side by side."""
    answered = client.chat.completions.create(model="gpt-4.1", messages=MESSAGES, n=2, stream=stream)
    if not stream:
        assert [choice.message.content for choice in answered.choices] == [ANSWER, f"{ANSWER} (Answer 2.)"]
        return
    choices = [choice for chunk in answered for choice in chunk.choices]
    assert [choice.index for choice in choices[:4]] == [0, 1, 0, 1]
    texts = ["".join(choice.delta.content or "" for choice in choices if choice.index == index) for index in (0, 1)]
    assert texts == [ANSWER, f"{ANSWER} (Answer 2.)"]


@pytest.mark.parametrize(
    ("question", "choice", "called"),
    [
        ("What is the weather?", "auto", True),
        ("What is the weather?", "none", False),
        (QUESTION, "auto", False),
        (QUESTION, "required", True),
        (QUESTION, {"type": "function", "function": {"name": "get_weather"}}, True),
        (QUESTION, {"type": "function", "function": {"name": "other"}}, False),
    ],
)
def test_a_tool_is_called_when_asked_for(client, question, choice, called):
    """The question's words and `tool_choice` decide, and the arguments follow the tool's schema."""
    messages = [{"role": "user", "content": question}]
    body = {"model": "gpt-4.1", "messages": messages, "tools": [CHAT_TOOL], "tool_choice": choice}
    answered = client.chat.completions.create(**body).choices[0]
    assert answered.finish_reason == ("tool_calls" if called else "stop")
    if called:
        assert json.loads(answered.message.tool_calls[0].function.arguments) == {"city": "Lisbon", "days": 2}
        assert answered.message.content is None
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**body, stream=True)]
    calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert "".join(call.function.arguments for call in calls) == ('{"city":"Lisbon","days":2}' if called else "")


def test_a_tool_is_not_called_again_once_it_has_answered(client):
    """The last message is the tool's then, so the model answers."""
    messages = [{"role": "user", "content": "weather?"}, {"role": "tool", "tool_call_id": "x", "content": "sunny"}]
    answered = client.chat.completions.create(model="gpt-4.1", messages=messages, tools=[CHAT_TOOL])
    assert answered.choices[0].finish_reason == "stop"


def test_structured_outputs_follow_the_schema(client):
    """A JSON schema is answered with a value it accepts, and `json_object` with an object."""
    schema = {"type": "json_schema", "json_schema": {"name": "trip", "schema": Trip.model_json_schema()}}
    answered = client.chat.completions.create(model="gpt-4.1", messages=MESSAGES, response_format=schema)
    assert Trip.model_validate_json(answered.choices[0].message.content) == Trip(city="Lisbon", days=2, stops=["stops"])
    answered = client.chat.completions.create(
        model="gpt-4.1", messages=MESSAGES, response_format={"type": "json_object"}
    )
    assert json.loads(answered.choices[0].message.content) == {"answer": ANSWER}


def test_limits_cut_the_answer(client):
    """`max_tokens` cuts after so many words, and the finish reason says so."""
    choice = client.chat.completions.create(model="gpt-4.1", messages=MESSAGES, max_tokens=2).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Visit Kyoto ", "length")
    limit = {"max_completion_tokens": 99}
    choice = client.chat.completions.create(model="gpt-4.1", messages=MESSAGES, extra_body=limit).choices[0]
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_answers_without_content(client, stream):
    """`content-null`, `refusal` and `no-choices` leave the content out, each in its own way."""

    def answer(model: str) -> Any:
        answered = client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
        return list(answered) if stream else answered

    if stream:
        assert len(answer("content-null")) == 2
        assert "".join(chunk.choices[0].delta.refusal or "" for chunk in answer("refusal")).startswith("I'm sorry")
        assert {chunk.choices for chunk in answer("no-choices")} == {None}
    else:
        assert answer("content-null").choices[0].message.content is None
        assert answer("refusal").choices[0].message.refusal.startswith("I'm sorry")
        assert answer("no-choices").choices is None


def test_legacy_completions_without_choices(client):
    """`no-choices` works for the legacy endpoint too, streamed or not."""
    assert client.completions.create(model="no-choices", prompt=QUESTION).choices is None
    chunks = client.completions.create(model="no-choices", prompt=[QUESTION], stream=True, n=2)
    assert {chunk.choices for chunk in chunks} == {None}


def test_a_mark_in_the_question_forces_a_behaviour_on_any_model(client):
    """`[[error-400]]` in the last message works as the model's name does; an unknown mark does nothing."""
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "[[error-400]]"}])
    parts = [{"type": "text", "text": "Kyoto [[unknown]]"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    answered = client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": parts}])
    assert answered.choices[0].message.content == ANSWER


def test_a_question_of_the_table_forces_a_behaviour(client):
    """The demo's questions about Easter meet a rate limit."""
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "And at Easter?"}])


def test_a_flaky_server_answers_the_second_try(server):
    """`flaky` asks to try again at once, and the client does."""
    before = len(server.requests)
    with make_client(server, max_retries=2) as client:
        response = client.chat.completions.with_raw_response.create(model="flaky", messages=MESSAGES)
        assert response.parse().choices[0].message.content == ANSWER
    says_which_try = "x-stainless-retry-count" in server.requests[-1].headers
    assert len(server.requests) - before == (2 if says_which_try else 1)


@pytest.mark.parametrize(("model", "waits_s"), [("slow", 0.02), ("slow-30", 0.03)])
def test_slow_waits(client, model, waits_s):
    """`slow` waits as long as the server or the model's name says."""
    started = time.perf_counter()
    client.chat.completions.create(model=model, messages=MESSAGES)
    assert time.perf_counter() - started >= waits_s


def test_the_service_tier_is_the_one_asked_for(client):
    """`auto` becomes `default`; a dated model keeps its date."""
    body = {"model": "gpt-4.1-2025-04-14", "messages": MESSAGES}
    response = client.chat.completions.create(**body, service_tier="auto")
    assert (response.service_tier, response.model) == ("default", "gpt-4.1-2025-04-14")
    assert client.chat.completions.create(**body, extra_body={"service_tier": "flex"}).service_tier == "flex"
    assert response.system_fingerprint == "fp_5pan6ac501"


def test_embeddings_come_as_floats_or_base64_in_the_length_asked_for(client):
    """Both encodings hold the same vector, and token lists are inputs as well."""
    body = {"model": "text-embedding-3-small", "dimensions": 4}
    coded = client.embeddings.create(**body, input=["a", "b"]).data
    plain = client.embeddings.create(**body, input=["a", "b"], encoding_format="float").data
    assert [entry.embedding for entry in coded] == [pytest.approx(entry.embedding) for entry in plain]
    assert coded[0].embedding != coded[1].embedding
    assert client.embeddings.create(**body, input=[1, 2, 3]).data[0].index == 0
    assert client.embeddings.create(**body, input=[[1, 2], [3]]).usage.prompt_tokens == 3
    raw = client.embeddings.with_raw_response.create(model="no-usage", input="a", encoding_format="float")
    assert json.loads(raw.text)["usage"] is None
    raw = client.embeddings.with_raw_response.create(model="no-choices", input="a", encoding_format="float")
    assert json.loads(raw.text)["data"] is None


def test_models_are_listed(client):
    """The list and a single model; an unknown model is not found."""
    assert [model.id for model in client.models.list()] == ["gpt-4o-mini", "gpt-4.1", "o3", "text-embedding-3-small"]
    assert client.models.retrieve("o3").owned_by == "openai"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("o9")


def test_azure_names_the_model_in_its_path(server):
    """Azure's client is answered at its deployment's path, and its key is not recorded."""
    with openai.AzureOpenAI(azure_endpoint=server.root_url, api_key="secret", api_version="2024-10-21") as client:
        assert client.chat.completions.create(model="travel", messages=MESSAGES).model == "travel-2025-01-01"
    request = server.requests[-1]
    assert request.path == "/openai/deployments/travel/chat/completions"
    assert request.query == {"api-version": "2024-10-21"}
    assert "secret" not in str(request)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/v1/chat/completions", None, 404),
        ("POST", "/v1/models", b"{}", 404),
        ("GET", "/elsewhere", None, 404),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
    ],
)
def test_requests_that_no_client_sends(server, method, path, content, status):
    """Unknown paths and bodies that are no object are refused in OpenAI's form."""
    request = urllib.request.Request(server.root_url + path, data=content, method=method)
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        assert error.code == status
        assert json.load(error)["error"]["type"] == "invalid_request_error"


def test_close_ends_calls_that_wait():
    """A call or a stream that would wait for a minute ends as soon as its server closes."""
    waiting, ended = threading.Semaphore(0), []

    def wait(client: openai.OpenAI, model: str, *, stream: bool) -> None:
        try:
            answered = client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
            for _ in answered:
                waiting.release()
        except Exception as error:  # noqa: BLE001 - a broken stream raises the HTTP library's own exceptions
            ended.append(error)

    with LoopbackServer() as server, make_client(server) as client:
        calls = {"slow-60000": False, "slow-stream-60000": True}
        threads = [
            threading.Thread(target=wait, args=(client, model), kwargs={"stream": calls[model]}) for model in calls
        ]
        for thread in threads:
            thread.start()
        assert waiting.acquire(timeout=30)
        while len(server.requests) < 2:
            time.sleep(0.001)
        server.close()
        for thread in threads:
            thread.join(30)
        server.close()
    assert len(ended) == 2


def test_a_client_that_hangs_up_is_no_error(server, capfd):
    """The server says nothing when a client goes away in the midst of a stream, or at once."""
    with make_client(server) as client:
        stream = client.chat.completions.create(model="many-chunks-20000", messages=MESSAGES, stream=True)
        next(iter(stream))
        stream.close()
    with socket.create_connection(("127.0.0.1", int(server.root_url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert create(server, "chat", is_async=False).choices
    assert capfd.readouterr() == ("", "")
