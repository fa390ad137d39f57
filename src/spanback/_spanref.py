"""Which span a response came from: the reference that feedback travels by, and the bounded index of response ids."""

from __future__ import annotations

import re
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, fields
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from spanback import semconv
from spanback.errors import TokenInvalid

if TYPE_CHECKING:
    from spanback._tokens import Rated

INDEXED_LIMIT_CHARACTERS: Final = 1_024
"""Of a response id in an index. Servers make ids of less than a hundred, gateways some hundreds of characters."""
HANDLE_ATTRIBUTE: Final = "_spanback"
"""Name of the attribute that a response object carries its handle in."""

Handle = tuple[
    int,
    int,
    int,
    int,
    str,
    "str | None",
    "str | None",
    "str | None",
    "str | None",
    tuple[str, ...],
    "str | None",
    "str | None",
    "int | None",
]
"""What a response object carries, in primitives only, so that a pickled response needs no spanback to be read:
trace id, span id, trace flags, start time (ns since the epoch), provider name, request model, prompt name, prompt
version, conversation id, tags, experiment, variant, id of the root span."""

_HANDLE_LENGTH: Final = 13

_TRACEPARENT_LENGTHS: Final = [2, 32, 16, 2]
_HEX_DIGITS: Final = frozenset("0123456789abcdef")
_SAMPLED: Final = 0x01
_PACKED: Final = struct.Struct(">QQQ?QQ")
"""Trace id in halves, span id, sampled, start time in ns, root span id; 0 for what is not known. 55 characters of a
token."""
_HALF_BITS: Final = 64
_HALF: Final = (1 << _HALF_BITS) - 1
_CLAIM_NAMES: Final = {
    "r": "response_id",
    "p": "provider_name",
    "q": "request_model",
    "m": "response_model",
    "n": "prompt_name",
    "v": "prompt_version",
    "c": "conversation_id",
    "e": "experiment",
    "a": "variant",
}
_RUN_ID: Final = r"(?:lc_)?run-{1,2}([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-\d+)?"
"""Not compiled before it is needed: few apps have LangChain."""


@dataclass(frozen=True, slots=True)
class SpanRef:
    """A span that feedback can be given on, and the dimensions that are copied onto the feedback.

    A value: hashable, comparable, picklable, free of any live span.

    Attributes:
        trace_id: 128-bit integer, as in the OpenTelemetry API.
        span_id: 64-bit integer.
        sampled: Whether the span was sampled, so that a backend can have it.
        start_time_ns: When the span started, ns since the epoch; None where it is not known.
        response_id: `gen_ai.response.id`.
        provider_name: `gen_ai.provider.name`.
        request_model: `gen_ai.request.model`.
        response_model: `gen_ai.response.model`.
        prompt_name: `gen_ai.prompt.name`.
        prompt_version: `gen_ai.prompt.version`.
        conversation_id: `gen_ai.conversation.id`.
        tags: `spanback.tags`.
        experiment: `feature_flag.key`.
        variant: `feature_flag.result.variant`.
        root_span_id: Id of the span that this process began the trace with; None where it is not known.
    """

    trace_id: int
    span_id: int
    sampled: bool = True
    start_time_ns: int | None = None
    response_id: str | None = None
    provider_name: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    conversation_id: str | None = None
    tags: tuple[str, ...] = ()
    experiment: str | None = None
    variant: str | None = None
    root_span_id: int | None = None

    def __reduce__(self) -> tuple[type[SpanRef], tuple[object, ...]]:
        """Pickled by its fields in order, so that a later release, which has more of them, can read it."""
        return SpanRef, tuple(getattr(self, field.name) for field in fields(self))

    @property
    def traceparent(self) -> str:
        """The W3C trace context header value, `00-<trace id>-<span id>-<flags>`."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"

    @classmethod
    def from_traceparent(cls, traceparent: str) -> SpanRef | None:
        """Reads a W3C traceparent (Trace Context level 1, section 3.2).

        Args:
            traceparent: The header's value. Versions above 00 may have more fields behind; version ff is invalid.

        Returns:
            The reference, or None when the text is no valid traceparent. Never raises.
        """
        # A typed app gives text; one that passes on a header that is not there gives None.
        fields = traceparent.strip().split("-", 4) if isinstance(cast("object", traceparent), str) else []
        known = fields[:4]
        if [*map(len, known)] != _TRACEPARENT_LENGTHS or not _HEX_DIGITS.issuperset("".join(known)):
            return None
        version, trace_id, span_id, flags = known
        if version == "ff" or (version == "00" and len(fields) > len(known)):
            return None
        ref = cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
        return ref if ref.trace_id and ref.span_id else None

    @classmethod
    def from_handle(cls, handle: Handle, response_id: str | None = None, response_model: str | None = None) -> SpanRef:
        """The reference that a handle stands for, with what the response itself says."""
        trace_id, span_id, flags, start_time_ns, provider, request_model = handle[:6]
        return cls(
            trace_id,
            span_id,
            bool(flags & _SAMPLED),
            start_time_ns,
            response_id,
            provider,
            request_model,
            response_model,
            *handle[6:],
        )

    def token(
        self,
        *,
        user_id: str | None = None,
        signals: Sequence[str] | None = None,
        expires_in_s: int = 86_400,
        max_uses: int | None = None,
        audience: str | None = None,
        keys: Sequence[str] | None = None,
    ) -> str:
        """A feedback token: whoever holds it may rate this span, for a while, and do nothing else.

        It is signed and not encrypted: what this reference says can be read by its holder.

        Args:
            user_id: The only user who may use it. Only an HMAC of it is in the token.
            signals: The only names of signals it is good for, at most 16; all when None.
            expires_in_s: For how many seconds.
            max_uses: For how many signals; any number when None.
            audience: For whom; SPANBACK_TOKEN_AUDIENCE decides when None, and without it `spanback`.
            keys: Keys that `spanback keys new` made, oldest to newest; those of SPANBACK_TOKEN_KEYS when None.

        Returns:
            The token, 400 to 600 characters with usual dimensions and at most 4,096 with any.

        Raises:
            MissingTokenKey: There is no key to sign with.
            InvalidSetting: An argument breaks its rule, or a field of this reference, made by hand, does.
        """
        from spanback import _tokens  # noqa: PLC0415 - with its cryptography, for whoever makes tokens
        from spanback._token_keys import encoded  # noqa: PLC0415

        _tokens.check_rated(self, _CLAIM_NAMES.values())
        halves = self.trace_id >> _HALF_BITS, self.trace_id & _HALF
        times = self.start_time_ns or 0, self.root_span_id or 0
        packed = _PACKED.pack(*halves, self.span_id, self.sampled, *times)
        core: Rated = {"t": encoded(packed).decode()}
        known: Rated = {name: value for name, value in zip(_CLAIM_NAMES, _CLAIM_VALUES(self), strict=True) if value}
        if self.tags:
            known["g"] = list(self.tags)
        terms = _tokens.Terms(user_id, signals, expires_in_s, max_uses, audience, keys)
        return _tokens.issue(core | known, core, terms)

    @classmethod
    def from_claims(cls, rated: Rated) -> SpanRef:
        """The reference that a verified token holds.

        Raises:
            TokenInvalid: The claims hold none.
        """
        from spanback._token_keys import loosely_decoded  # noqa: PLC0415 - as above

        packed, tags = rated.get("t"), rated.get("g", _NO_TAGS)
        texts = tuple(map(rated.get, _CLAIM_NAMES))
        if not isinstance(packed, str) or not _TEXT_KINDS.issuperset(map(type, texts)):
            raise TokenInvalid(_NO_SPAN)
        if tags is not _NO_TAGS and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
            raise TokenInvalid(_NO_SPAN)
        try:
            high, low, span_id, sampled, start_time_ns, root_span_id = _PACKED.unpack(loosely_decoded(packed.encode()))
        except (ValueError, struct.error):
            raise TokenInvalid(_NO_SPAN) from None
        place = (high << _HALF_BITS | low, span_id, sampled, start_time_ns or None)
        # Names cost more than the order of the fields, in which the tags stand before the last two texts.
        values: tuple[Any, ...] = (*place, *texts[:-2], tuple(tags), *texts[-2:], root_span_id or None)
        return cls(*values)

    def dimensions(self) -> Iterator[tuple[str, str | tuple[str, ...]]]:
        """The attributes that feedback copies, under their own names; those not known are left out."""
        values = _DIMENSION_VALUES(self)
        return compress(zip(_DIMENSION_NAMES, values, strict=True), values)


_NO_TAGS: Final[tuple[str, ...]] = ()
_TEXT_KINDS: Final = frozenset((str, type(None)))
_CLAIM_VALUES: Final = attrgetter(*_CLAIM_NAMES.values())
_NO_SPAN: Final = "the token names no span"
_DIMENSION_VALUES: Final = attrgetter(
    "provider_name",
    "request_model",
    "response_model",
    "response_id",
    "prompt_name",
    "prompt_version",
    "conversation_id",
    "experiment",
    "variant",
    "tags",
)
_DIMENSION_NAMES: Final = (
    semconv.GEN_AI_PROVIDER_NAME,
    semconv.GEN_AI_REQUEST_MODEL,
    semconv.GEN_AI_RESPONSE_MODEL,
    semconv.GEN_AI_RESPONSE_ID,
    semconv.GEN_AI_PROMPT_NAME,
    semconv.GEN_AI_PROMPT_VERSION,
    semconv.GEN_AI_CONVERSATION_ID,
    semconv.FEATURE_FLAG_KEY,
    semconv.FEATURE_FLAG_RESULT_VARIANT,
    semconv.TAGS,
)


def looks_like_token(text: str) -> bool:
    """Whether a text has the shape of a feedback token, a JWT. Says nothing of what is in it."""
    return text.startswith("eyJ") and text.count(".") == 2


class LatestCall:
    """Takes the model call that was made last, for whoever is around the calls of one request.

    Attributes:
        call: Its handle, and id and model of the response where that has come; None while none was made.
    """

    __slots__ = ("call",)

    def __init__(self) -> None:
        self.call: tuple[Handle, str | None, str | None] | None = None

    def reference(self) -> SpanRef | None:
        """The reference of that call, or None."""
        return None if self.call is None else SpanRef.from_handle(*self.call)


LATEST_CALL: Final[ContextVar[LatestCall | None]] = ContextVar("spanback-latest-call", default=None)
"""What a model call tells of itself; None where nobody asks."""


class ResponseIndex:
    """Response id to handle, for objects that were dumped, copied to JSON or rated by their id alone.

    Bounded in number and in age, so it may forget: an object that still carries its handle does not need it. Safe
    for threads, since each step is one operation of a dict in C.

    Args:
        limit: The most entries kept; the oldest goes first.
        max_age_s: How long an entry is believed, in seconds since the span's start.
    """

    def __init__(self, limit: int = 10_000, max_age_s: float = 86_400.0) -> None:
        self._limit = limit
        self._max_age_ns = int(max_age_s * 1e9)
        self._handles: OrderedDict[str, tuple[Handle, str | None]] = OrderedDict()
        self.offer: Callable[[str, Handle, str | None], None] | None = None
        """Is told of each response, where processes share an index; it never waits and never raises."""
        self.ask: Callable[[str], SpanRef | None] | None = None
        """Is asked for what is not known here. It may wait for a moment, and never raises."""

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, response_id: str, handle: Handle, response_model: str | None = None) -> None:
        """Notes where a response came from; a known id is overwritten, one that is too long not noted. Never raises."""
        if len(response_id) > INDEXED_LIMIT_CHARACTERS:
            return
        handles = self._handles
        handles[response_id] = (handle, response_model)
        if self.offer is not None:
            self.offer(response_id, handle, response_model)
        if len(handles) > self._limit:
            try:
                handles.popitem(last=False)
            except KeyError:  # pragma: no cover - another thread emptied it between the two lines
                return

    def handle(self, response_id: str) -> Handle | None:
        """The handle noted for a response id, of any age, or None. Never raises."""
        entry = self._handles.get(response_id)
        return None if entry is None else entry[0]

    def find(self, response_id: str) -> SpanRef | None:
        """The reference of a response id, or None when it is unknown, forgotten or too old. Never raises."""
        entry = self._handles.get(response_id)
        if entry is None:
            return None
        handle, response_model = entry
        if time.time_ns() - handle[3] > self._max_age_ns:
            self._handles.pop(response_id, None)
            return None
        return SpanRef.from_handle(handle, response_id, response_model)

    def find_anywhere(self, response_id: str) -> SpanRef | None:
        """As `find`; what is not known here may be known to the shared index. Never raises."""
        return self.find(response_id) or (None if self.ask is None else self.ask(response_id))

    def clear(self) -> None:
        """Forgets everything."""
        self._handles.clear()


def run_key(message_id: str) -> str | None:
    """The key in the index for the call behind a message of LangChain, which gives most messages an id of its own.

    Args:
        message_id: That id; a number is behind it where the message was not streamed.

    Returns:
        The key, or None where the id is none of LangChain's.
    """
    found = re.fullmatch(_RUN_ID, message_id, re.ASCII)
    return None if found is None else f"lc_run--{found.group(1)}"


RESPONSES: Final = ResponseIndex()
"""The index of this process."""


def attach(response: Any, handle: Handle) -> bool:
    """Puts a handle on an object that an app holds.

    The object's own `__setattr__` is passed by: models that forbid or validate assignments keep the handle too, and
    it shows neither in dumps nor in comparisons.

    Returns:
        False for objects that cannot carry it (dicts, generators, slotted objects). Never raises.
    """
    try:
        object.__setattr__(response, HANDLE_ATTRIBUTE, handle)
    except (AttributeError, TypeError):
        return False
    return True


def attached(response: Any) -> Handle | None:
    """The handle that an object carries, or None. Looks into the object's own dict only. Never raises."""
    try:
        handle = object.__getattribute__(response, "__dict__").get(HANDLE_ATTRIBUTE)
    except (AttributeError, TypeError):
        return None
    return handle if isinstance(handle, tuple) and len(handle) == _HANDLE_LENGTH else None
