"""The bodies of Bedrock's InvokeModel, in which each family of models has a format of its own.

A format is told by the names in the body rather than by the model's: that may be the ARN of an inference profile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, TextPart
from spanback.instrumentation._adapter import Attributes, Body, Clip, member, members, text
from spanback.instrumentation._tables import Field, body_reader
from spanback.instrumentation.providers import _bedrock_converse as converse
from spanback.instrumentation.providers import _chat, anthropic
from spanback.instrumentation.providers._bedrock_converse import as_body

OPERATIONS: Final = ("chat", "text_completion", "embeddings", "generate_content", "rerank")
WITHOUT_ANSWER: Final = frozenset({"embeddings", "rerank"})
_OPERATION_BY_KEY: Final = {
    "query": "rerank",
    "messages": "chat",
    "message": "chat",
    "prompt": "text_completion",
    "taskType": "generate_content",
}
_EMBEDDING_KEYS: Final = ("texts", "images", "inputs", "embeddingTypes", "embeddingConfig", "inputImage", "dimensions")
_CONFIGS: Final = ("textGenerationConfig", "inferenceConfig", "embeddingConfig")
_LISTS: Final = ("results", "outputs", "choices", "generations", "completions")
_REASONS: Final = ("finish_reason", "stop_reason", "completionReason", "stopReason")
_QUESTIONS: Final = ("prompt", "inputText", "message")
_TEXTS: Final = ("outputText", "text", "generation", "completion")
_METRICS: Final = "amazon-bedrock-invocationMetrics"
_MOST_BYTES: Final = 1 << 20
_HEAD: Final = 2
_TAIL: Final = 4

_COUNTS: Final = {
    "input": sc.GEN_AI_USAGE_INPUT_TOKENS,
    "output": sc.GEN_AI_USAGE_OUTPUT_TOKENS,
    "cache-read-input": sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    "cache-write-input": sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
}
_read_metrics = body_reader(
    Field("inputTokenCount", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("outputTokenCount", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("cacheReadInputTokenCount", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("cacheWriteInputTokenCount", sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, int),
)
_read_counts = body_reader(
    Field("inputTextTokenCount", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("totalOutputTextTokenCount", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("prompt_token_count", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("generation_token_count", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("response_id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
)
_read_request = body_reader(
    *(Field(name, sc.GEN_AI_REQUEST_TEMPERATURE, float) for name in ("temperature",)),
    *(Field(name, sc.GEN_AI_REQUEST_TOP_P, float) for name in ("top_p", "topP", "p")),
    *(Field(name, sc.GEN_AI_REQUEST_TOP_K, int) for name in ("top_k", "topK", "topKReturn", "k")),
    *(
        Field(name, sc.GEN_AI_REQUEST_MAX_TOKENS, int)
        for name in (
            "max_tokens",
            "maxTokens",
            "maxTokenCount",
            "max_gen_len",
            "max_new_tokens",
            "max_tokens_to_sample",
            "max_completion_tokens",
        )
    ),
    *(
        Field(name, sc.GEN_AI_REQUEST_STOP_SEQUENCES, _chat.texts)
        for name in ("stop_sequences", "stopSequences", "stop")
    ),
    *(Field(name, sc.GEN_AI_REQUEST_CHOICE_COUNT, _chat.choice_count) for name in ("n", "num_generations")),
    Field("numResults", sc.GEN_AI_REQUEST_CHOICE_COUNT, _chat.choice_count),
    Field("seed", sc.GEN_AI_REQUEST_SEED, int),
    Field("frequency_penalty", sc.GEN_AI_REQUEST_FREQUENCY_PENALTY, float),
    Field("presence_penalty", sc.GEN_AI_REQUEST_PRESENCE_PENALTY, float),
    Field("reasoning_effort", sc.GEN_AI_REQUEST_REASONING_LEVEL, str),
    Field("response_format", sc.GEN_AI_OUTPUT_TYPE, _chat.output_type),
    Field("guardrailIdentifier", sc.AWS_BEDROCK_GUARDRAIL_ID, str),
)
_read_embeddings_request = body_reader(
    Field("dimensions", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
    Field("output_dimension", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
    Field("outputEmbeddingLength", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
    Field("embedding_types", sc.GEN_AI_REQUEST_ENCODING_FORMATS, _chat.texts),
    Field("embeddingTypes", sc.GEN_AI_REQUEST_ENCODING_FORMATS, _chat.texts),
)


class Answer(NamedTuple):
    """A response: its body as far as it was read, and the token counts that the service tells beside it."""

    body: Body
    counts: Attributes


def parsed(content: Any) -> Body:
    """The dict in a JSON text of at most 1 MiB; an empty one for anything else, also for what can be read once."""
    if not isinstance(content, (bytes, bytearray, str)) or len(content) > _MOST_BYTES:
        return {}
    try:
        return as_body(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def request_body(params: Mapping[str, Any]) -> Body:
    """The body of a request, its settings beside each other, and what the arguments say besides."""
    body = dict(parsed(params.get("body")))
    for name in _CONFIGS:
        for key, value in as_body(body.get(name)).items():
            body.setdefault(key, value)
    if "guardrailIdentifier" in params:
        body["guardrailIdentifier"] = params["guardrailIdentifier"]
    return body


def operation_of(body: Body) -> str:
    """What a request asks for, by the names in its body; a chat where nothing tells."""
    for key, operation in _OPERATION_BY_KEY.items():
        if key in body:
            return operation
    if any(key in body for key in _EMBEDDING_KEYS):
        return "embeddings"
    if "inputText" in body:
        return "text_completion" if "textGenerationConfig" in body else "embeddings"
    return "chat"


def counts_in_headers(result: Any) -> Attributes:
    """Token counts that the service sends as headers."""
    headers = member(member(result, "ResponseMetadata"), "HTTPHeaders")
    counts: Attributes = {}
    for name, attribute in _COUNTS.items():
        value = text(member(headers, f"x-amzn-bedrock-{name}-token-count"))
        if value is not None and value.isdigit():
            counts[attribute] = int(value)
    return converse.with_cached(counts)


def read_request(body: Body) -> Attributes:
    """Attributes of a request of any family."""
    if operation_of(body) in WITHOUT_ANSWER:
        return _read_embeddings_request(body)
    attributes = _read_request(body)
    config = body.get("output_config")
    if config is not None:
        attributes[sc.GEN_AI_REQUEST_REASONING_LEVEL] = text(member(config, "effort"))
    return attributes


def read_response(answer: Answer) -> Attributes:
    """Attributes of a response of any family. What the body does not say, the service may have said beside it."""
    body = answer.body
    if "choices" in body:
        attributes = _chat.read_response(_with_reasons(body))
    elif "output" in body:
        attributes = converse.read_response(body)
    elif "content" in body:
        attributes = anthropic.read_response(body)
    else:
        attributes = _read_plain(body)
    return {**answer.counts, **attributes}


def read_tokens(answer: Answer) -> Attributes:
    """Attributes of a response that is no text of a model's: the conventions want no id there."""
    attributes = _read_counts(answer.body)
    attributes.pop(sc.GEN_AI_RESPONSE_ID, None)
    return {**answer.counts, **attributes}


def identify(thing: Any) -> tuple[str | None, str | None]:
    """Id and model of a response, or of the message that begins a stream."""
    body = thing.body if isinstance(thing, Answer) else _event(thing)
    begun = as_body(body.get("message")) or body
    return text(begun.get("id")) or text(begun.get("response_id")), text(begun.get("model"))


def _read_plain(body: Body) -> Attributes:
    """Titan, Llama, Mistral, Cohere, Jurassic, the first Claude: one text or several, each with its reason."""
    attributes = _read_counts(body)
    answers = _answers(body)
    reasons = [reason for reason in map(_reason, answers) if reason]
    if reasons:
        attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reasons)
    tokens = [member(one, "tokenCount") for one in answers]
    if all(type(count) is int for count in tokens):
        attributes[sc.GEN_AI_USAGE_OUTPUT_TOKENS] = sum(tokens)
    return attributes


def _answers(body: Body) -> Sequence[Any]:
    return next((found for found in (members(body, name) for name in _LISTS) if found), (body,))


def _reason(answer: Any) -> str | None:
    named = next((found for found in (text(member(answer, name)) for name in _REASONS) if found), None)
    return named or text(member(member(answer, "finishReason"), "reason"))


def _with_reasons(body: Body) -> Body:
    """Mistral's models name the reason as others do a level above."""
    choices = [
        {**as_body(one), "finish_reason": _reason(one)} if not isinstance(one, SimpleNamespace) else one
        for one in members(body, "choices")
    ]
    return {**body, "choices": choices}


class Events:
    """Folds the messages of `invoke_model_with_response_stream`. Without content only the first and last are read."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._read = 0
        self._tail: list[Any] = []
        self._messages = anthropic.MessageEvents(with_content)
        self._choices = _chat.ChatChunks(with_content)
        self._blocks = converse.Events(with_content)
        self._kind = ""
        self._plain: dict[str, Any] = {}
        self._texts: list[str] = []
        self._counts: Attributes = {}

    def add(self, chunks: list[Any]) -> None:
        """Takes the next messages, as they came over the wire."""
        if self._with_content:
            self._fold(chunks)
            return
        head = chunks[: max(_HEAD - self._read, 0)]
        self._read += len(chunks)
        self._fold(head)
        self._tail = [*self._tail, *chunks[len(head) :]][-_TAIL:]

    def response(self) -> Answer:
        """The response so far."""
        self._fold(self._tail)
        self._tail = []
        return Answer(self._body(), converse.with_cached(dict(self._counts)))

    def _fold(self, chunks: list[Any]) -> None:
        for message in chunks:
            event = _event(message)
            self._counts.update(_read_metrics(as_body(event.get(_METRICS))))
            self._add(event)

    def _add(self, event: Body) -> None:
        if "type" in event:
            self._kind = "messages"
            self._messages.add([_as_object(event)])
        elif "choices" in event:
            self._kind = "choices"
            self._choices.add([_as_chunk(event)])
        elif "event_type" in event:
            self._add_plain({**event, **as_body(event.get("response")), "text": event.get("text")})
        else:
            blocks = [(key, value) for key, value in event.items() if isinstance(value, dict) and key != _METRICS]
            for key, value in blocks:
                self._kind = "blocks"
                self._blocks.add_event(key, value)
            if not blocks:
                self._add_plain(event)

    def _add_plain(self, event: Body) -> None:
        (answer, *_) = _answers(event)
        told = {**event, **as_body(answer)}
        piece = _text_of(told)
        if piece is not None and self._with_content:
            self._texts.append(piece)
        self._plain.update((key, value) for key, value in told.items() if value is not None)

    def _body(self) -> Body:
        if self._kind == "messages":
            return vars(self._messages.response())
        if self._kind == "choices":
            return vars(self._choices.response())
        if self._kind == "blocks":
            return self._blocks.response()
        plain = {key: value for key, value in self._plain.items() if key not in {*_TEXTS, *_LISTS, "tokenCount"}}
        return {**plain, "text": "".join(self._texts)} if plain else {}


def _event(pair: Any) -> Body:
    """What a message of a stream says: JSON, which the client gives as bytes in what it makes of the message."""
    made = pair[1] if isinstance(pair, tuple) else None
    return parsed(member(member(made, "chunk"), "bytes"))


def _as_object(event: Any) -> Any:
    """The shape of the event objects that other clients make."""
    if isinstance(event, dict):
        return SimpleNamespace(**{key: _as_object(value) for key, value in cast("Body", event).items()})
    return event


def _as_chunk(event: Body) -> Any:
    choices = [
        SimpleNamespace(
            index=member(one, "index"),
            delta=_as_object(member(one, "delta") or member(one, "message")),
            finish_reason=_reason(one),
            text=None,
        )
        for one in members(event, "choices")
    ]
    return SimpleNamespace(**{**event, "choices": choices})


def read_input(body: Body, clip: Clip) -> Attributes:
    """What the model was asked, in the format of its family."""
    if "schemaVersion" in body or "inferenceConfig" in body:
        return converse.read_input(body, clip)
    if "anthropic_version" in body:
        return anthropic.read_input(body, clip)
    if "messages" in body:
        return _chat.read_input(body, clip)
    asked = next((found for found in (text(body.get(name)) for name in _QUESTIONS) if found), "")
    if not asked or operation_of(body) in WITHOUT_ANSWER:
        return {}
    earlier = [
        Message(
            role="assistant" if member(turn, "role") == "CHATBOT" else "user",
            parts=[{"type": "text", "content": clip(member(turn, "message") or "")}],
        )
        for turn in members(body, "chat_history")
    ]
    return {
        sc.GEN_AI_INPUT_MESSAGES: [*earlier, Message(role="user", parts=[{"type": "text", "content": clip(asked)}])]
    }


def read_output(answer: Answer, clip: Clip) -> Attributes:
    """What the model answered."""
    body = answer.body
    if "choices" in body:
        return _chat.read_output(_with_reasons(body), clip)
    if "output" in body:
        return converse.read_output(body, clip)
    if "content" in body:
        return anthropic.read_output(body, clip)
    messages: list[OutputMessage] = []
    for one in _answers(body):
        piece = _text_of(one)
        if piece:
            reason = _reason(one) or "error"
            part = TextPart(type="text", content=clip(piece))
            messages.append(OutputMessage(role="assistant", parts=[part], finish_reason=reason))
    return {sc.GEN_AI_OUTPUT_MESSAGES: messages or None}


def _text_of(answer: Any) -> str | None:
    found = next((one for one in (text(member(answer, name)) for name in _TEXTS) if one), None)
    return found or text(member(member(answer, "data"), "text"))
