"""What only the Responses API has, seen through the real client."""

from __future__ import annotations

import openai
import pytest

from spanback.demo import _loopback
from spanback.demo._loopback import LoopbackServer
from tests.demo.conftest import ANSWER, QUESTION, make_client, needs_responses
from tests.demo.test_loopback import RESPONSES_TOOL, Trip

pytestmark = needs_responses


def test_a_background_response_is_queued_and_later_completed(client):
    """`background` answers at once without output; retrieving gives the whole response."""
    queued = client.responses.create(model="gpt-4.1", input=QUESTION, background=True)
    assert (queued.status, queued.output, queued.usage) == ("queued", [], None)
    completed = client.responses.retrieve(queued.id)
    assert (completed.status, completed.output_text) == ("completed", ANSWER)
    assert client.responses.cancel(queued.id).status == "cancelled"
    with pytest.raises(openai.NotFoundError, match="Response with id 'resp_0' not found"):
        client.responses.retrieve("resp_0")


def test_a_response_can_be_streamed_later_from_any_event(client):
    """`retrieve(stream=True)` gives the same events again, those after a sequence number only."""
    stream = client.responses.create(model="gpt-4.1", input=QUESTION, background=True, stream=True)
    events = list(stream)
    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    response_id = events[-1].response.id
    assert list(client.responses.retrieve(response_id, stream=True)) == events
    assert list(client.responses.retrieve(response_id, stream=True, starting_after=4)) == events[5:]


def test_the_events_of_a_stream(client):
    """A model that thinks gives a reasoning item first; the sequence numbers have no gap."""
    events = list(client.responses.create(model="o3", input=[{"role": "user", "content": QUESTION}], stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert list(dict.fromkeys(event.type for event in events)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.completed",
    ]
    response = events[-1].response
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.usage.output_tokens_details.reasoning_tokens == 16
    assert response.usage.input_tokens_details.cached_tokens == 6


@pytest.mark.parametrize(
    ("model", "status", "event", "more"),
    [
        ("failed-response", "failed", "response.failed", {}),
        ("incomplete-response", "incomplete", "response.incomplete", {}),
        ("gpt-4.1", "incomplete", "response.incomplete", {"max_output_tokens": 3}),
        ("gpt-4.1", "completed", "response.completed", {"max_output_tokens": 300}),
    ],
)
def test_the_outcomes_of_a_response(client, model, status, event, more):
    """A response fails, is cut, or completes, and the stream's last event says which."""
    response = client.responses.create(model=model, input=QUESTION, **more)
    assert response.status == status
    assert (response.error is not None) == (status == "failed")
    assert (response.incomplete_details is not None) == (status == "incomplete")
    assert list(client.responses.create(model=model, input=QUESTION, stream=True, **more))[-1].type == event


def test_responses_without_content(client):
    """`content-null` has no message, `refusal` a refusal, `no-choices` and `no-usage` null fields."""
    assert client.responses.create(model="content-null", input=QUESTION).output == []
    part = client.responses.create(model="refusal", input=QUESTION).output[0].content[0]
    assert (part.type, part.refusal) == ("refusal", "I'm sorry, I can't help with that.")
    refused = [event.type for event in client.responses.create(model="refusal", input=QUESTION, stream=True)]
    assert "response.refusal.delta" in refused
    assert client.responses.create(model="no-choices", input=QUESTION).output is None
    assert client.responses.create(model="no-usage", input=QUESTION).usage is None


def test_a_tool_is_called(client):
    """A function call is an item of the output, its arguments streamed in deltas."""
    body = {"model": "gpt-4.1", "input": "What is the weather?", "tools": [RESPONSES_TOOL]}
    item = client.responses.create(**body).output[0]
    assert (item.type, item.name, item.arguments) == ("function_call", "get_weather", '{"city":"Lisbon","days":2}')
    events = list(client.responses.create(**body, stream=True))
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item.arguments
    chosen = {"type": "function", "name": "get_weather"}
    body = {**body, "input": QUESTION, "tool_choice": chosen}
    assert client.responses.create(**body).output[0].type == "function_call"


def test_what_a_request_asked_is_repeated(client):
    """Instructions, limits, the previous response and the rest come back as given, else with the defaults."""
    first = client.responses.create(model="gpt-4.1", input=QUESTION)
    body = {"previous_response_id": first.id, "instructions": "Be brief.", "temperature": 0.5, "metadata": {"k": "v"}}
    second = client.responses.create(model="gpt-4.1", input="And with children?", **body)
    assert {key: getattr(second, key) for key in body} == body
    assert (first.temperature, first.instructions, first.tools) == (1.0, None, [])


def test_helpers_of_the_client(client):
    """`.parse()` and `.stream()` understand the answers."""
    parsed = client.responses.parse(model="gpt-4.1", input=QUESTION, text_format=Trip).output_parsed
    assert parsed == Trip(city="Lisbon", days=2, stops=["stops"])
    with client.responses.stream(model="gpt-4.1", input=QUESTION) as stream:
        stream.until_done()
        assert stream.get_final_response().output_text == ANSWER
    messages = [{"role": "user", "content": QUESTION}]
    chat = client.chat.completions.parse(model="gpt-4.1", messages=messages, response_format=Trip)
    assert chat.choices[0].message.parsed == parsed
    with client.chat.completions.stream(model="gpt-4.1", messages=messages) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_the_beta_resource_is_answered_too(server, client):
    """`client.beta.responses` asks the same path with `?beta=true`."""
    if not hasattr(client.beta, "responses"):
        pytest.skip("this release of openai has no beta.responses")
    assert client.beta.responses.create(model="gpt-4.1", input=QUESTION).output[0].content[0].text == ANSWER
    assert server.requests[-1].query == {"beta": "true"}


def test_only_the_latest_responses_are_kept(monkeypatch):
    """The oldest response is forgotten, so that the server's memory stays flat."""
    monkeypatch.setattr(_loopback, "_RESPONSES_KEPT", 2)
    with LoopbackServer() as server, make_client(server) as client:
        first, second, third = (client.responses.create(model="gpt-4.1", input=QUESTION) for _ in range(3))
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        assert client.responses.retrieve(second.id).output_text == client.responses.retrieve(third.id).output_text
