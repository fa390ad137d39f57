"""What an app may rate of a response that it keeps as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

import spanback
from spanback import InvalidFeedback, signals
from spanback.demo._loopback import LoopbackServer
from spanback.feedback._target import KIND_RULE
from tests.clients.cases import ClientCase, Style
from tests.clients.test_matrix import CASES, made
from tests.conftest import Memory
from tests.instrumentation.driving import MESSAGES, MODEL, make_client

WHOLE = [(case, style) for case, style in CASES if not style.is_stream and not style.is_async and not style.reads]
OPENAI: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.create(model=MODEL, messages=MESSAGES),
    "completions": lambda client: client.completions.create(model=MODEL, prompt="Hi"),
    "responses": lambda client: client.responses.create(model=MODEL, input="Hi"),
    "embeddings": lambda client: client.embeddings.create(model=MODEL, input="Hi"),
}
# Each client has some of these; what gives a text gives JSON.
WAYS = ("model_dump", "to_dict", "dict", "model_dump_json", "to_json", "json")

# Pydantic warns of the names that it had before its version 2, which apps go on using.
pytestmark = pytest.mark.filterwarnings("ignore")


def dumps(response: Any) -> Iterator[tuple[str, Any]]:
    """A response as an app keeps it, in every way that it can be dumped, stored as JSON and loaded again."""
    if isinstance(response, dict):
        yield "itself", json.loads(json.dumps(response, default=str))
    for way in WAYS:
        dump = getattr(response, way, None)
        if callable(dump):
            dumped = dump()
            yield way, json.loads(dumped if isinstance(dumped, str) else json.dumps(dumped, default=str))


def check(response: Any, span: ReadableSpan) -> None:
    """Feedback on each form is on the span; where the provider gives no id the app is told so at once."""
    forms = list(dumps(response))
    has_id = "gen_ai.response.id" in (span.attributes or {}) or "ResponseMetadata" in forms[0][1]
    for way, form in forms:
        if not has_id:
            with pytest.raises(InvalidFeedback) as caught:
                spanback.record_feedback(form, signals.THUMBS_UP)
            assert (caught.value.field, caught.value.rule) == ("target", KIND_RULE), way
            continue
        receipt = spanback.record_feedback(form, signals.THUMBS_UP)
        assert receipt.status == "recorded", way
        assert receipt.target is not None
        assert (receipt.target.trace_id, receipt.target.span_id) == (span.context.trace_id, span.context.span_id), way


@pytest.mark.parametrize(("case", "style"), WHOLE, ids=[f"{case.client}-{style.name}" for case, style in WHOLE])
async def test_a_dumped_response_leads_to_its_span(case: ClientCase, style: Style, bench: Any) -> None:
    """As JSON it is found by its id, wherever the client keeps that; one without an id cannot be found."""
    bench.instrument(clients=[case.client])
    response = await made(style, bench.connect(case, style))
    if not any(True for _ in dumps(response)):
        pytest.skip("an answer that is not read yet cannot be dumped")
    check(response, bench.memory.spans[-1])


@pytest.mark.parametrize("name", OPENAI)
def test_a_dumped_response_of_openai_leads_to_its_span(
    name: str, server: LoopbackServer, instrument: Callable[..., None], memory: Memory
) -> None:
    """The same of the client that has a matrix of its own."""
    instrument(clients=["openai"])
    with make_client(server) as client:
        if not hasattr(client, name):
            pytest.skip("this release has no such endpoint")
        response = OPENAI[name](client)
    check(response, memory.spans[-1])
