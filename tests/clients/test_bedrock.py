"""What only Bedrock has: bodies that can be read once, dicts without handles, formats by family, codes of errors."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable, Iterator
from operator import methodcaller
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("botocore")

from botocore.eventstream import EventStream
from botocore.exceptions import ClientError, EventStreamError, ResponseStreamingError
from botocore.response import StreamingBody
from botocore.stub import Stubber

import spanback
from spanback.instrumentation.providers import _bedrock_converse, _bedrock_families
from tests.clients import bedrock
from tests.clients.wire import WireAnswer, WireServer, as_json
from tests.conftest import Memory

ASKED = json.dumps(bedrock.FAMILIES["anthropic"].request)
NAMED = {"x-amzn-requestid": "request-1"}


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    """One server for the file."""
    with WireServer().running() as server:
        server.speak(bedrock.answers)
        yield server


@pytest.fixture
def client(wire: WireServer) -> Iterator[Any]:
    """A client made before anything is instrumented."""
    wire.speak(bedrock.answers)
    made = bedrock.connect(wire, False)
    yield made
    made.close()


def invoke(client: Any, **more: Any) -> Any:
    """Asks a model of Anthropic's."""
    return client.invoke_model(**{"modelId": "model-1", "body": ASKED, **more})


def with_lines(body: Any) -> bytes:
    """Reads the lines of a body."""
    return b"".join(body.iter_lines())


def in_pieces(body: Any) -> bytes:
    """Reads a body by its method alone, as `iter` with a sentinel does, and lets go of the rest."""
    read = body.read
    del body
    return b"".join(iter(lambda: read(7), b""))


def from_within(body: Any) -> bytes:
    """Reads what a body gives as a context manager."""
    with body as raw:
        return raw.read()


@pytest.mark.parametrize(
    "read",
    [
        methodcaller("read"),
        lambda body: b"".join(body.iter_chunks(10)),
        b"".join,
        lambda body: b"".join(body.readlines()),
        lambda body: json.dumps(json.load(body)).encode(),
        with_lines,
        in_pieces,
        from_within,
    ],
)
def test_a_body_is_read_once_and_by_the_app(
    client: Any, instrument: Any, memory: Memory, read: Callable[[Any], bytes]
) -> None:
    """However an app reads the body, it gets all of it, the span has what it says, and the class's methods are back."""
    instrument()
    body = invoke(client)["body"]
    assert type(body) is StreamingBody
    assert memory.counted.ended == 0
    assert json.loads(read(body))["id"] == "msg_bdrk_1"
    assert memory.span.attributes["gen_ai.usage.input_tokens"] == 12
    assert not {"read", "close"} & (vars(body).keys() | vars(body._raw_stream).keys())
    assert spanback.reference(body).span_id == memory.span.context.span_id


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what the app leaves open is its own
@pytest.mark.parametrize("how", ["close", "with", "drop", "part"])
def test_a_body_that_is_not_read(client: Any, instrument: Any, memory: Memory, how: str) -> None:
    """A body that the app closes, leaves or drops ends its call without error, and says nothing that it did not say."""
    instrument()
    body = invoke(client)["body"]
    if how == "close":
        body.close()
    elif how == "with":
        with body:
            pass
    elif how == "part":
        body.read(3)
        body.close()
    del body
    gc.collect()
    spanback.flush()
    assert "gen_ai.response.id" not in memory.span.attributes
    assert "error.type" not in memory.span.attributes


def test_a_body_that_breaks_off(client: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """A connection that breaks while the app reads is the app's exception and the span's error."""
    wire.speak(lambda _request: WireAnswer(iter([b'{"id": ']), headers=NAMED, is_cut=True))
    instrument()
    body = invoke(client)["body"]
    with pytest.raises(ResponseStreamingError):
        body.read()
    assert memory.span.attributes["error.type"] == "ResponseStreamingError"


def test_a_response_is_found_by_request_and_by_id(client: Any, instrument: Any, memory: Memory) -> None:
    """The dict, its copy through JSON, the parsed body and the ids alone all refer to the span."""
    instrument()
    result = invoke(client)
    early = spanback.reference(result)
    parsed = json.loads(result["body"].read())
    span_id = memory.span.context.span_id
    kept = json.loads(json.dumps({**result, "body": None}))
    for rated in (result, kept, parsed, parsed["id"], "request-1"):
        assert spanback.reference(rated).span_id == span_id
    assert early is not None
    assert spanback.record_feedback(result, score=1).status == "recorded"
    assert "gen_ai.response.id" not in bedrock.CONVERSE


def test_a_stream_bears_its_handle(client: Any, instrument: Any, memory: Memory) -> None:
    """The stream is the client's own, and can be rated itself; there is nothing that it gives twice."""
    instrument()
    result = client.converse_stream(modelId="model-1", **bedrock.CONVERSATION)
    stream = result["stream"]
    assert type(stream) is EventStream
    assert len(list(stream)) == 7
    assert list(stream) == []
    for rated in (result, stream):
        assert spanback.reference(rated).span_id == memory.span.context.span_id


def test_an_error_in_a_stream(client: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """An exception that the service sends as an event is raised as ever, and names the error of the span."""
    frames = [
        bedrock.frame({"role": "assistant"}, "messageStart"),
        bedrock.frame({"message": "slow down"}, "throttlingException", "exception"),
    ]
    wire.speak(lambda _request: bedrock.as_frames(frames, **NAMED))
    instrument()
    stream = client.converse_stream(modelId="model-1", **bedrock.CONVERSATION)["stream"]
    with pytest.raises(EventStreamError, match="slow down"):
        list(stream)
    assert memory.span.attributes["error.type"] == "throttlingException"


def test_a_code_without_a_class(client: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """An error that the service has no class for is named by its code."""
    coded = {"x-amzn-errortype": "ExpiredTokenException"}
    wire.speak(lambda _request: as_json({"message": "expired"}, 403, **coded))
    instrument()
    with pytest.raises(ClientError):
        client.converse(modelId="model-1", **bedrock.CONVERSATION)
    assert memory.span.attributes["error.type"] == "ExpiredTokenException"


def test_other_operations_have_no_span(client: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """What is no model call is none of spanback's business."""
    wire.speak(lambda _request: as_json({"asyncInvokeSummaries": []}))
    instrument()
    assert client._make_api_call(operation_name="ListAsyncInvokes", api_params={})["asyncInvokeSummaries"] == []
    assert memory.spans == []


def test_bound_before_instrumented(client: Any, instrument: Any, memory: Memory) -> None:
    """A method that the app took from the client before counts, too."""
    converse = client.converse
    instrument()
    converse(modelId="model-1", **bedrock.CONVERSATION)
    assert memory.span.name == "chat model-1"


def test_a_request_that_can_be_read_once(client: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """A body given as a file reaches the server whole."""
    instrument(capture_content=True)
    invoke(client, body=io.BytesIO(ASKED.encode()))["body"].read()
    assert wire.requests[0].body == bedrock.FAMILIES["anthropic"].request
    assert memory.span.name == "chat model-1"


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"inputText": ' + b'"x' * 600_000 + b'"}', "[" * 100_000])
def test_odd_requests(client: Any, wire: WireServer, instrument: Any, memory: Memory, body: Any) -> None:
    """A body that is no JSON, or is longer than a prompt, is sent as it is."""
    wire.speak(lambda _request: as_json({}))
    instrument(capture_content=True)
    invoke(client, body=body)["body"].read()
    assert wire.requests[0].content == (body.encode() if isinstance(body, str) else body)
    assert memory.span.name == "chat model-1"


def test_stubbed_bodies(client: Any, instrument: Any, memory: Memory) -> None:
    """What botocore's stubs give in the place of a response goes to the app as it is."""
    instrument()
    content = json.dumps(bedrock.FAMILIES["meta"].response).encode()
    with Stubber(client) as stubber:
        for body in (StreamingBody(io.BytesIO(content), len(content)), SlottedBody(content)):
            stubber.add_response("invoke_model", {"body": body, "contentType": "application/json"})
            assert json.loads(invoke(client)["body"].read())["stop_reason"] == "stop"
        stubber.add_response("invoke_model_with_response_stream", {"body": {}, "contentType": "application/json"})
        client.invoke_model_with_response_stream(modelId="model-1", body=ASKED)
    assert [span.attributes.get("gen_ai.usage.output_tokens") for span in memory.spans] == [4, 4, None]


class Slotted:
    """A raw stream that takes no attributes."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, amt: int | None = None) -> bytes:
        """Reads."""
        return self._content

    def close(self) -> None:
        """Closes."""


def SlottedBody(content: bytes) -> StreamingBody:  # noqa: N802 - it stands for a class
    """A body over such a stream."""
    return StreamingBody(Slotted(content), len(content))


def test_content_of_every_kind(client: Any, instrument: Any, memory: Memory) -> None:
    """Blocks become the conventions' parts; of media the kind and the size are kept."""
    instrument(capture_content=True)
    blocks: list[Any] = [
        {"image": {"format": "png", "source": {"bytes": b"12345"}}},
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/a.mp4"}}}},
        {"document": {"format": "pdf", "name": "b", "source": {"s3Location": {"uri": "s3://b/a.pdf"}}}},
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"123"}}},
        {"guardContent": {"text": {"text": "guarded", "qualifiers": ["query"]}}},
        {"cachePoint": {"type": "default"}},
        {"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}, {"text": "ok"}]}},
    ]
    said: list[Any] = [
        {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"at": "x"}}},
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"reasoningContent": {"redactedContent": b"x"}},
        {"citationsContent": {"content": [{"text": "cited"}]}},
    ]
    client.converse(
        modelId="model-1",
        messages=[{"role": "user", "content": blocks}, {"role": "assistant", "content": said}],
        toolConfig={"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]},
    )
    attributes = memory.span.attributes
    first, second = (message["parts"] for message in json.loads(attributes["gen_ai.input.messages"]))
    assert first == [
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "[5 bytes left out]"},
        {"type": "uri", "modality": "video", "uri": "s3://b/a.mp4"},
        {"type": "document", "content": "s3://b/a.pdf"},
        {"type": "document", "content": "[3 bytes left out]"},
        {"type": "text", "content": "guarded"},
        {"type": "cachePoint"},
        {
            "type": "tool_call_response",
            "id": "t1",
            "response": [{"type": "json", "content": '{"a":1}'}, {"type": "text", "content": "ok"}],
        },
    ]
    assert second == [
        {"type": "tool_call", "id": "t1", "name": "look", "arguments": '{"at":"x"}'},
        {"type": "reasoning", "content": "hm"},
        {"type": "redacted_reasoning"},
        {"type": "text", "content": "cited"},
    ]
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "look"}]


def test_streamed_tools_and_thoughts(client: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """The pieces of a tool's arguments and of thoughts are joined."""
    frames = [
        bedrock.frame({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "h"}}}, "contentBlockDelta"),
        bedrock.frame({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "m"}}}, "contentBlockDelta"),
        bedrock.frame(
            {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "look"}}}, "contentBlockStart"
        ),
        bedrock.frame({"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"a"'}}}, "contentBlockDelta"),
        bedrock.frame({"contentBlockIndex": 1, "delta": {"toolUse": {"input": ":1}"}}}, "contentBlockDelta"),
        bedrock.frame({"stopReason": "tool_use"}, "messageStop"),
    ]
    wire.speak(lambda _request: bedrock.as_frames(frames, **NAMED))
    instrument(capture_content=True)
    list(client.converse_stream(modelId="model-1", **bedrock.CONVERSATION)["stream"])
    (message,) = json.loads(memory.span.attributes["gen_ai.output.messages"])
    assert message["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "tool_call", "id": "t1", "name": "look", "arguments": '{"a":1}'},
    ]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"query": "q", "documents": ["a"]}, "rerank"),
        ({"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}}, "generate_content"),
        ({"inputImage": "AAAA", "embeddingConfig": {"outputEmbeddingLength": 256}}, "embeddings"),
    ],
)
def test_operations_by_what_is_asked(client: Any, instrument: Any, memory: Memory, body: Any, name: str) -> None:
    """The operation is told by the body, since a model may be named by an ARN."""
    instrument(capture_content=True)
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    with Stubber(client) as stubber:
        answer = b'{"results": [{"index": 0, "relevance_score": 0.5}]}'
        stubbed = StreamingBody(io.BytesIO(answer), len(answer))
        stubber.add_response("invoke_model", {"body": stubbed, "contentType": "application/json"})
        invoke(client, modelId=arn, body=json.dumps(body), guardrailIdentifier="gr-1")["body"].read()
    assert memory.span.name == f"{name} {arn}"
    is_inference = name == "generate_content"
    assert memory.span.attributes.get("aws.bedrock.guardrail.id") == ("gr-1" if is_inference else None)


def test_efforts_and_formats() -> None:
    """How hard a model is to think is asked for in either format, and so is the format of the answer."""
    asked = {"outputConfig": {"effort": "low", "textFormat": {"type": "json_schema"}}}
    assert _bedrock_converse.read_request(asked) == {
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "json",
    }
    invoked = {"messages": [], "output_config": {"effort": "high"}}
    assert _bedrock_families.read_request(invoked) == {"gen_ai.request.reasoning.level": "high"}
    blocks = {"messages": [{"content": [{"guardContent": None}, {"text": None}, {"text": "x", "qualifiers": []}]}]}
    (message,) = _bedrock_converse.read_input(blocks, str)["gen_ai.input.messages"]
    assert message["parts"] == [{"type": "text", "content": "x"}]
    assert _bedrock_converse.read_output({}, str) == {}
    events = _bedrock_converse.Events(True)
    events.add_event("contentBlockStop", {})
    assert events.response() == {"output": {"message": {"content": []}}}
    assert _bedrock_families.identify(SimpleNamespace()) == (None, None)
