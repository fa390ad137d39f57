"""One call's life, written once for sync and async: begun, received, ended exactly once."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Token
from time import perf_counter, time_ns
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import NonRecordingSpan, Span, Status, StatusCode

from spanback import semconv as sc
from spanback._bounded import set_attributes
from spanback._never_raise import never_raise
from spanback._open_spans import OPEN_SPANS
from spanback._said import Entry, entry_of
from spanback._settings import IN_FORCE, SPAN_MODES
from spanback._settings import current as current_settings
from spanback._spanref import LATEST_CALL, RESPONSES, Handle, attach
from spanback._spans import SPAN_KEY, end_span
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import NO_DIMENSIONS, Attributes, Clip, Dimensions, Request, class_of, text
from spanback.instrumentation._applying import apply_to, attributes_of, read_documents
from spanback.instrumentation._content import Clipper, to_json
from spanback.instrumentation._events import describe, emit_events, sendable
from spanback.instrumentation._langchain import LANGCHAIN, note_run
from spanback.instrumentation._metrics import metrics_of
from spanback.instrumentation._noticing import response_id_in
from spanback.instrumentation._silence import lift

Moment = tuple[int, float]
"""A time in ns since the epoch, and the same time in seconds on the clock of `perf_counter`."""

ABANDONED: Final[deque[Callable[[], None]]] = deque()
"""What ends the calls whose streams the garbage collector took. It runs anywhere, also where its thread holds a lock of
the SDK that the end of a span asks for, so they end at the next call instead, or when the process does."""

_DIMENSIONS: Final = (sc.GEN_AI_PROMPT_NAME, sc.GEN_AI_PROMPT_VERSION, sc.GEN_AI_CONVERSATION_ID)


def end_abandoned(_timeout_s: float = 0.0) -> None:
    """Ends the calls of abandoned streams, as of the moment they were abandoned; nothing of it waits. Never raises."""
    with suppress(IndexError):  # another thread was faster
        while ABANDONED:
            never_raise(ABANDONED.popleft())


class Attempts(Protocol):
    """What the attempt that a call makes belongs to, of several."""

    def hold(self, call: Any, error: BaseException) -> bool:
        """Keeps a call open whose attempt has failed, if another follows."""
        ...


class Call:
    """A call whose span is open, and the current one until the call is left.

    A span that does not record costs almost nothing, but the response still carries its handle: feedback is given on
    responses that were not sampled, too.

    Args:
        request: What is asked for.
        span: Of the call, which is open.
        context: In which the call is made.
        start_time_ns: When it began, in ns since the epoch.
        is_own: Whether the span is one of ours, and not somebody else's.
        attributes: Those that the span has begun with.
        attempts: What the call's attempt belongs to, of a client that makes several; None for all others.
        is_made: Whether the client has made the call already, so that its span need not become the current one.
        is_lifted: Whether the span is made although somebody around it suppresses all instrumentations.
    """

    __slots__ = (
        "_attributes",
        "_content",
        "_context",
        "_is_lifted",
        "_is_own",
        "_is_read",
        "_open",
        "_requested",
        "_said",
        "_span",
        "_token",
        "attempts",
        "handle",
        "has_content",
        "request",
        "settings",
        "start_s",
    )

    def __init__(
        self,
        request: Request,
        span: Span,
        context: Context,
        start_time_ns: int,
        *,
        is_own: bool,
        attributes: Attributes | None = None,
        attempts: Attempts | None = None,
        is_made: bool = False,
        is_lifted: bool = False,
    ) -> None:
        self.request = request
        self.attempts = attempts
        self._is_lifted = is_lifted
        self._is_own = is_own
        endpoint = request.endpoint
        self._span = span
        entry = entry_of(context)
        around = context.get(SPAN_KEY)
        self._context = context = Context({**context, SPAN_KEY: span})
        self._open = [None]
        self.settings = settings = IN_FORCE.settings or current_settings()
        if is_own:
            is_recording = span.is_recording()
            # Metrics are not sampled: a call whose span is not recorded counts in them all the same.
            self._is_read = is_recording or TELEMETRY.meter() is not None
            self.has_content = is_recording and settings.content != "no_content"
            self._attributes: Attributes = attributes or {}
            self._content: Attributes = {}
            self._requested: Attributes = {}
            self._said: Attributes = {}
            begins_here = around is None
        else:
            self._is_read = self.has_content = False
            begins_here = getattr(span, "parent", span) is None
        dimensions = NO_DIMENSIONS
        if endpoint.read_dimensions is not None:
            dimensions = never_raise(endpoint.read_dimensions, request.body) or NO_DIMENSIONS
        belongs = dimensions if entry is None else entry.over(dimensions)
        trace_id, span_id, _, flags, _, _ = span.get_span_context()
        root_span_id = span_id if begins_here else OPEN_SPANS.root_of(span)
        if root_span_id is None:
            root_span_id = OPEN_SPANS.root_of(around)  # began before anybody kept it
        self.handle: Handle = (
            trace_id,
            span_id,
            int(flags),
            start_time_ns,
            request.provider,
            request.model,
            belongs[0],
            belongs[1],
            belongs[2],
            belongs[3],
            belongs[4],
            belongs[5],
            root_span_id,
        )
        latest = LATEST_CALL.get()
        if latest is not None and endpoint.is_inference:
            latest.call = self.handle, None, None
        if LANGCHAIN in sys.modules:
            never_raise(note_run, self.handle)
        if self._is_read:
            self._read_request(dimensions)
        if entry is not None:
            never_raise(self._apply, entry, is_own=is_own)
        # Last, since nothing may go wrong between this and `leave`.
        if not is_made:
            self._token: Token[Context] = otel_context.attach(context)
        self.start_s = perf_counter()

    def _apply(self, entry: Entry, *, is_own: bool) -> None:
        """Takes over what the app says of its calls."""
        if not is_own:
            apply_to(self._span, self._context)
        elif self._is_read:
            is_inference = self.request.endpoint.is_inference
            self._said = attributes_of(entry, self.settings, is_inference=is_inference)
            if sc.GEN_AI_PROMPT_NAME in self._said:
                self._requested.pop(sc.GEN_AI_PROMPT_VERSION, None)  # of the prompt that the request itself names
            if self.has_content and is_inference:
                self._read_content(read_documents, entry.documents)

    def _read_request(self, dimensions: Dimensions) -> None:
        """What the span gets of the request at its end."""
        request = self.request
        self._requested = requested = never_raise(request.endpoint.read_request, request.body) or {}
        if request.is_stream:
            requested[sc.GEN_AI_REQUEST_STREAM] = True
        if dimensions is not NO_DIMENSIONS:
            requested.update(zip(_DIMENSIONS, dimensions, strict=False))
        if request.endpoint.retries is not None and request.server_address is not None:
            # The next attempt may go to another server, and an attribute cannot be taken off a span.
            requested[sc.SERVER_ADDRESS] = request.server_address
            requested[sc.SERVER_PORT] = request.server_port
        if self.has_content:
            self._read_content(request.endpoint.read_input, request.body)

    def again(self, request: Request, name: str, attributes: Attributes) -> None:
        """The next attempt of the call begins, perhaps of another model, and the call is entered.

        Args:
            request: What is asked for now.
            name: The span's name for it.
            attributes: Those that the span would begin with.
        """
        self.request, self._attributes = request, attributes
        self.handle = (*self.handle[:4], request.provider, request.model, *self.handle[6:])
        latest = LATEST_CALL.get()
        if latest is not None and request.endpoint.is_inference:
            latest.call = self.handle, None, None
        if self._is_read:
            self._span.update_name(name)
            set_attributes(self._span, attributes)
            read = request.endpoint.read_dimensions
            self._read_request(NO_DIMENSIONS if read is None else never_raise(read, request.body) or NO_DIMENSIONS)
        self.enter()

    def fail(self, error: BaseException) -> None:
        """The call has raised into the app, or is about to be tried again."""
        self.leave()
        self.give_up(error)

    def give_up(self, error: BaseException) -> None:
        """The call has failed, once and for all unless an attempt follows."""
        if self.attempts is None or not never_raise(self.attempts.hold, self, error):
            self.end(error=error)

    def enter(self) -> None:
        """The call's span is the current one again, until the call is left."""
        self._token = otel_context.attach(self._context)

    def stand_in(self) -> Span:
        """A span with the identity of the call's own, on which nothing can be set."""
        return NonRecordingSpan(self._span.get_span_context())

    def leave(self) -> None:
        """The span that was current before the call is so again."""
        otel_context.detach(self._token)

    @property
    def is_open(self) -> bool:
        """Whether the call has not ended yet."""
        return bool(self._open)

    def mark(self, *objects: Any) -> None:
        """Puts the handle on objects that the app holds, so that it can give feedback on them."""
        for one in objects:
            attach(one, self.handle)

    def index(self, response_id: str | None, response_model: str | None) -> None:
        """Makes the response known by its id. What fetches a response does not take it from the call that made it."""
        if response_id is None:
            return
        if not self.request.endpoint.is_inference:
            maker = RESPONSES.handle(response_id)
            if maker is not None:
                self.handle = maker
                return
        latest = LATEST_CALL.get()
        if latest is not None and self.request.endpoint.is_inference:
            latest.call = self.handle, response_id, response_model
        RESPONSES.add(response_id, self.handle, response_model)

    def end(
        self,
        response: Any = None,
        *,
        error: BaseException | None = None,
        ended: Moment | None = None,
        first_chunk_s: float | None = None,
        chunk_times_s: Sequence[float] = (),
    ) -> None:
        """Ends the span. Whoever comes second changes nothing.

        Args:
            response: The response, or what came of it.
            error: What the call raised into the app, if it did.
            ended: When it ended, where that is not now.
            first_chunk_s: Time from the call to the first chunk, in seconds.
            chunk_times_s: When each chunk came, on the clock of `start_s`; empty where it is not measured.
        """
        try:
            self._open.pop()
        except IndexError:
            return
        if not self._is_read:
            if response is not None or not self._is_own:
                self.index(*self._identified(response))
            return
        end_time_ns, end_s = ended or (time_ns(), perf_counter())
        token = lift() if self._is_lifted else None
        added: Attributes = {}
        try:
            added = self._read_response(response, error, first_chunk_s)
            if response is not None:
                self.index(added.get(sc.GEN_AI_RESPONSE_ID), added.get(sc.GEN_AI_RESPONSE_MODEL))
            if error is not None or sc.ERROR_TYPE in added:
                description = describe(error, self.settings, SPAN_MODES)
                self._span.set_status(Status(StatusCode.ERROR, description))
            meter = TELEMETRY.meter()
            if meter is not None or error is not None or self.settings.emit_event:
                self._tell(meter, added, error, end_s - self.start_s, chunk_times_s)
        finally:
            end_span(self._span, added, end_time_ns)
            if token is not None:
                otel_context.detach(token)

    def _identified(self, response: Any) -> tuple[str | None, str | None]:
        """Id and model of a response, as it says or as somebody else's span of it does."""
        found = (None, None) if response is None else self.request.endpoint.identify(response)
        if found[0] is not None or self._is_own:
            return found
        said: Any = getattr(self._span, "attributes", None) or {}
        return response_id_in(said), text(said.get(sc.GEN_AI_RESPONSE_MODEL))

    def _read_response(self, response: Any, error: BaseException | None, first_chunk_s: float | None) -> Attributes:
        """All that the span gets at its end. What the response does not say stays as the request said it."""
        attributes = self._requested
        if first_chunk_s is not None:
            attributes[sc.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = first_chunk_s
        if response is not None:
            attributes.update(never_raise(self.request.endpoint.read_response, response) or {})
            if self.has_content:
                self._read_content(self.request.endpoint.read_output, response)
        attributes.update(self._said)
        if error is not None:
            attributes[sc.ERROR_TYPE] = never_raise(self.request.endpoint.name_error, error) or class_of(error)
        if self._content and self.settings.content in SPAN_MODES:
            # What an app sends may hold what JSON has no form for.
            attributes.update((name, never_raise(_written, value)) for name, value in self._content.items())
        return attributes if None not in attributes.values() else _without_none(attributes)

    def _read_content(self, read: Callable[[Any, Clip], Attributes] | None, thing: Any) -> None:
        if read is not None:
            content = never_raise(read, thing, Clipper(self.settings.content_limit_bytes))
            self._content.update(_without_none(content or {}))

    def _tell(
        self,
        meter: Meter | None,
        added: Attributes,
        error: BaseException | None,
        duration_s: float,
        chunk_times_s: Sequence[float],
    ) -> None:
        """Records metrics and emits events, where somebody takes them."""
        is_inference = self.request.endpoint.is_inference
        with_details = is_inference and self.settings.emit_event
        attributes = {**self._attributes, **added}
        if meter is not None:
            metrics = metrics_of(meter)
            metrics.record(attributes, duration_s, is_inference, self._context)
            if chunk_times_s:
                metrics.record_chunks(attributes, chunk_times_s, self._context)
        if error is not None or with_details:
            details = attributes if with_details else None
            emit_events(details, self._content, error, self.settings, self._context)


def _written(content: Any) -> str:
    return sendable(to_json(content))


def _without_none(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}
