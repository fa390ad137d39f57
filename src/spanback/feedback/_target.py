"""Which span a target stands for.

The order: the handle that the object itself carries, then one inside it (raw responses, events that hold a
response), then the index of response ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final, Literal, NamedTuple, cast

from opentelemetry import trace
from opentelemetry.context import Context

from spanback import semconv
from spanback._never_raise import never_raise
from spanback._open_spans import OPEN_SPANS
from spanback._spanref import RESPONSES, Handle, SpanRef, attached, looks_like_token, run_key
from spanback.errors import InvalidFeedback, InvalidSetting, TokenError
from spanback.feedback._rules import checked_line, whole_of

Scope = Literal["response", "span", "trace", "conversation", "tool_call", "choice", "document"]

NOTHING_RULE: Final = "must be given where no span is current: there is nothing to rate"
KIND_RULE: Final = (
    "must be a response, stream or chunk of an instrumented client, a SpanRef, an OpenTelemetry Span, SpanContext or "
    "Context, a W3C traceparent, a feedback token or a response id"
)
RESPONSE_ID_RULE: Final = "must be a W3C traceparent or a response id: 1 to 256 printable characters, not blank"

TOKEN_STAND_IN: Final = "<feedback token>"
"""What stands for a token in messages."""

_RESPONSE_ID_LIMIT_CHARACTERS: Final = 256
_TRACEPARENT_CHARACTERS: Final = 55
_PLAIN_KINDS: Final = (bool, int, float, complex, bytes, bytearray, list, tuple, set, frozenset, type)
_ID_NAMES: Final = ("id", "response_id")
_MODEL_NAMES: Final = ("model", "model_version")
_ID_KEYS: Final = ("id", "responseId", "response_id")
_TOOL: Final = "execute_tool"
_INSIDE: Final = ("response", "chunk", "_response", "_raw_stream")
"""Where raw responses, stream helpers and stream events keep what they wrap."""


_TEXTS: Final = (
    "response_id",
    "provider_name",
    "request_model",
    "response_model",
    "prompt_name",
    "prompt_version",
    "conversation_id",
    "experiment",
    "variant",
)
_class_of: Final = attrgetter("__class__")
"""Of a stand-in, as web frameworks have them, the class of what it stands for; it raises where that is not there."""

_TEXTS_OF: Final = attrgetter(*_TEXTS)
_TEXT_KINDS: Final = frozenset((str, type(None)))
_MOST_NS: Final = 1 << 63
_NO_TAGS: Final[tuple[str, ...]] = ()


class Target(NamedTuple):
    """What a signal is about.

    Attributes:
        ref: The rated span, or None when it is not known.
        response_id: The response's id, where it is known.
        scope: What of it is rated.
        detail: What tells the rated part from others of its scope: the number of a choice, or the id of a tool call, a
            document or a conversation.
    """

    ref: SpanRef | None
    response_id: str | None
    scope: Scope
    detail: str | int | None = None


NOWHERE: Final = Target(None, None, "span")
"""What a signal is about where that is not known at all."""


def reference(target: object = None) -> SpanRef | None:
    """The span that a response came from, to be kept or sent along until someone rates it.

    Args:
        target: What `record_feedback` takes: a response, a stream (from its first chunk on) or a chunk, a raw or
            dumped response, a SpanRef, an OpenTelemetry Span, SpanContext or Context, a traceparent, a feedback token,
            a response id; None for the current span.

    Returns:
        The reference, or None when the span is not known. Never raises.
    """
    try:
        found = resolve(target)
    except InvalidFeedback:
        return None
    return None if found is None else found.ref


def resolve(target: object, field: str = "target") -> Target | None:
    """What a target stands for.

    Args:
        target: As `record_feedback` takes it.
        field: Name of the argument.

    Returns:
        The target, without a reference when its span is not known; or None when nothing in it tells one response from
        another, as in a client's object that no instrumentation has seen and that has no id.

    Raises:
        InvalidFeedback: It is of a kind that cannot be rated.
    """
    if type(target) is SpanRef:
        return _of_ref(target)
    handle = attached(target)
    if handle is not None:
        return _of_handle(handle, target)
    if target is None:
        span = trace.get_current_span()
        return _of_span(span) if span.get_span_context().is_valid else None
    if never_raise(_class_of, target) is None:
        raise InvalidFeedback(field, target, KIND_RULE)
    if isinstance(target, SpanRef):
        return _of_ref(_plain(target))
    if isinstance(target, str):
        return _of_text(str.__str__(target), field)
    if isinstance(target, trace.SpanContext):
        return _of_context(target)
    if isinstance(target, Context):
        return _of_span(trace.get_current_span(target))
    if isinstance(target, _PLAIN_KINDS):
        raise InvalidFeedback(field, target, KIND_RULE)
    # What the app holds may be anything, with properties that compute or fail.
    return never_raise(_of_object, target)


def _of_object(target: object) -> Target | None:
    if isinstance(target, trace.Span):
        return _of_span(target)
    if isinstance(target, Mapping):
        response_id = _id_in(cast("Mapping[object, object]", target))
        return None if response_id is None else _of_id(response_id)
    candidates = list(_candidates(target))
    for candidate in candidates:
        handle = attached(candidate)
        if handle is not None:
            return _of_handle(handle, candidate)
    for candidate in candidates:
        found = _of_message(candidate)
        if found is not None:
            return found
        response_id = _first_text(candidate, _ID_NAMES)
        if response_id is not None:
            return _of_id(response_id)
    return None


def _of_message(candidate: object) -> Target | None:
    """A message of LangChain, whole or a chunk: by the id of its response, or else by the run that made it."""
    metadata = getattr(candidate, "response_metadata", None)
    if not isinstance(metadata, Mapping):
        return None
    own_id = _first_text(candidate, _ID_NAMES)
    response_id = _text_of(cast("Mapping[object, object]", metadata), "id")
    if response_id is not None and RESPONSES.find(response_id) is not None:
        return _of_id(response_id)
    key = None if own_id is None else run_key(own_id)
    ref = None if key is None else RESPONSES.find(key)
    if ref is not None:
        return Target(replace(ref, response_id=response_id), response_id, "response")
    return None if response_id is None else _of_id(response_id)


def _candidates(target: object, depth: int = 2) -> Iterator[object]:
    """The object and what it wraps, at most two layers deep."""
    yield target
    if depth == 0:
        return
    parsed = getattr(target, "_parsed_by_type", None)
    if isinstance(parsed, dict):
        for inner in cast("dict[object, object]", parsed).values():
            yield from _candidates(inner, depth - 1)
    for name in _INSIDE:
        inner = getattr(target, name, None)
        if inner is not None:
            yield from _candidates(inner, depth - 1)


def _of_handle(handle: Handle, response: object) -> Target:
    response_id, response_model = never_raise(_told_by, response) or (None, None)
    return Target(SpanRef.from_handle(handle, response_id, response_model), response_id, "response")


def _told_by(response: object) -> tuple[str | None, str | None]:
    """Response id and model, as the object that has the handle or what it wraps says them."""
    for candidate in _candidates(response):
        response_id = _first_text(candidate, _ID_NAMES)
        if response_id is not None:
            return response_id, _first_text(candidate, _MODEL_NAMES)
    return None, None


def _of_ref(ref: SpanRef) -> Target:
    if not _TEXT_KINDS.issuperset(map(type, _TEXTS_OF(ref))) or not _is_plain(ref):
        ref = _plain(ref)
    known = 0 < ref.trace_id < 1 << 128 and 0 < ref.span_id < 1 << 64
    return Target(ref if known else None, ref.response_id, "response")


def _is_plain(ref: SpanRef) -> bool:
    return (
        type(ref.trace_id) is int
        and type(ref.span_id) is int
        and type(ref.sampled) is bool
        and (ref.start_time_ns is None or (type(ref.start_time_ns) is int and 0 < ref.start_time_ns < _MOST_NS))
        and (ref.root_span_id is None or type(ref.root_span_id) is int)
        and ref.tags is _NO_TAGS
    )


def _plain(ref: SpanRef) -> SpanRef:
    """A reference that an app has made of something else, without what none can hold."""
    tags = cast("object", ref.tags)
    texts = tuple(cast("tuple[object, ...]", tags)) if type(tags) is tuple else ()
    return SpanRef(
        _as_id(ref.trace_id, 128) or 0,
        _as_id(ref.span_id, 64) or 0,
        never_raise(bool, ref.sampled) is True,
        _as_id(ref.start_time_ns, 63),
        **{name: _as_text(value) for name, value in zip(_TEXTS, _TEXTS_OF(ref), strict=True)},
        tags=tuple(text for text in map(_as_text, texts) if text),
        root_span_id=_as_id(ref.root_span_id, 64),
    )


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return str.__str__(value)
    return never_raise(str, value) if type(value) in (int, float, bool) else None


def _as_id(value: object, bits: int) -> int | None:
    """An int from 1 on, of at most so many bits; None for anything else."""
    number = whole_of(value)
    return number if number is not None and 0 < number < 1 << bits else None


def _of_text(text: str, field: str) -> Target:
    if looks_like_token(text):
        return _of_token(text, field)
    ref = SpanRef.from_traceparent(text)
    if ref is not None:
        return Target(ref, None, "span")
    if len(text) == _TRACEPARENT_CHARACTERS and text.count("-") == 3:  # all zeros: what a switched-off tracer sends
        return Target(None, None, "span")
    return _of_id(checked_line(field, text, _RESPONSE_ID_LIMIT_CHARACTERS, RESPONSE_ID_RULE))


def _of_token(token: str, field: str) -> Target:
    """What a feedback token is about. Who may use it for what is for the app to say, which has taken it here."""
    from spanback import _tokens  # noqa: PLC0415 - with its cryptography, for whoever takes tokens

    try:
        claims = _tokens.verify(token, keys=_tokens.keys_of(None))
        return _of_ref(SpanRef.from_claims(claims.rated))
    except (TokenError, InvalidSetting) as error:
        rule = f"must be a feedback token that can be verified: {error}"
        raise InvalidFeedback(field, TOKEN_STAND_IN, rule) from None


def _of_id(response_id: str) -> Target:
    return Target(RESPONSES.find_anywhere(response_id), response_id, "response")


def _of_context(context: trace.SpanContext) -> Target:
    if not context.is_valid:
        return Target(None, None, "span")
    return Target(SpanRef(context.trace_id, context.span_id, context.trace_flags.sampled), None, "span")


def _of_span(span: trace.Span) -> Target:
    """The span with what it tells about itself, where it is one of the SDK, open or ended."""
    target = _of_context(span.get_span_context())
    if target.ref is None:
        return target
    return never_raise(_described, span, target.ref) or target


def _described(span: trace.Span, ref: SpanRef) -> Target | None:
    found = getattr(span, "attributes", None)
    if not isinstance(found, Mapping):
        return None
    attributes = cast("Mapping[object, object]", found)
    started: object = getattr(span, "start_time", None)
    described = SpanRef(
        ref.trace_id,
        ref.span_id,
        ref.sampled,
        started if isinstance(started, int) else None,
        response_id=_text_of(attributes, semconv.GEN_AI_RESPONSE_ID),
        provider_name=_text_of(attributes, semconv.GEN_AI_PROVIDER_NAME),
        request_model=_text_of(attributes, semconv.GEN_AI_REQUEST_MODEL),
        response_model=_text_of(attributes, semconv.GEN_AI_RESPONSE_MODEL),
        prompt_name=_text_of(attributes, semconv.GEN_AI_PROMPT_NAME),
        prompt_version=_text_of(attributes, semconv.GEN_AI_PROMPT_VERSION),
        conversation_id=_text_of(attributes, semconv.GEN_AI_CONVERSATION_ID),
        tags=_tags_of(attributes),
        experiment=_text_of(attributes, semconv.FEATURE_FLAG_KEY),
        variant=_text_of(attributes, semconv.FEATURE_FLAG_RESULT_VARIANT),
        root_span_id=OPEN_SPANS.root_of(span),
    )
    if attributes.get(semconv.GEN_AI_OPERATION_NAME) == _TOOL:
        return Target(described, described.response_id, "tool_call", _text_of(attributes, semconv.GEN_AI_TOOL_CALL_ID))
    return Target(described, described.response_id, "span")


def _text_of(mapping: Mapping[object, object], key: str) -> str | None:
    value = mapping.get(key)
    return (str.__str__(value) or None) if isinstance(value, str) else None


def _tags_of(attributes: Mapping[object, object]) -> tuple[str, ...]:
    tags = attributes.get(semconv.TAGS)
    return tuple(map(str, cast("Sequence[object]", tags))) if isinstance(tags, (tuple, list)) else ()


def _id_in(response: Mapping[object, object]) -> str | None:
    for key in _ID_KEYS:
        response_id = _text_of(response, key)
        if response_id is not None:
            return response_id
    metadata = response.get("ResponseMetadata")
    return _text_of(cast("Mapping[object, object]", metadata), "RequestId") if isinstance(metadata, Mapping) else None


def _first_text(target: object, names: tuple[str, ...]) -> str | None:
    for name in names:
        value = getattr(target, name, None)
        plain = str.__str__(value) if isinstance(value, str) else ""  # what is set on a span must be of the exact type
        if plain:
            return plain
    return None
