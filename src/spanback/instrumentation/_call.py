"""One call's life, written once for sync and async: begun, received, ended exactly once."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from contextvars import Token
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from spanback import _settings
from spanback import semconv as sc
from spanback._never_raise import never_raise
from spanback._settings import EVENT_MODES, SPAN_MODES, ContentMode
from spanback._spanref import RESPONSES, Handle, attach
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import NO_DIMENSIONS, Adapter, Attributes, Request, member, text
from spanback.instrumentation._adopt import peer_of
from spanback.instrumentation._content import Clipper, to_json
from spanback.instrumentation._metrics import ClientMetrics

if TYPE_CHECKING:
    from typing_extensions import Self

Moment = tuple[int, float]
"""A time in ns since the epoch, and the same time in seconds on the clock of `perf_counter`."""

ADOPTED: Final[dict[str, str]] = {}
"""Client name to the scope name of the peer whose span was kept last, for `status()`."""

ABANDONED: Final[deque[Callable[[], None]]] = deque()
"""What ends the calls whose streams the garbage collector took. It runs anywhere, also where its thread holds a lock of
the SDK that the end of a span asks for, so they end at the next call instead, or when the process does."""

_metrics_by_meter: Final[dict[int, tuple[Any, ClientMetrics]]] = {}


def begin(adapter: Adapter, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
    """Starts the span of a call that is about to be made.

    Returns:
        The call, or None where nothing is to be done: no model call, nobody who records, or suppressed by
        `suppress_instrumentation()`.
    """
    endpoint = adapter.find_endpoint(args, kwargs)
    if endpoint is None:
        return None
    if ABANDONED:
        end_abandoned()
    tracer = TELEMETRY.tracer()
    if tracer is None or not is_instrumentation_enabled():
        return None
    request = adapter.read(endpoint, instance, args, kwargs)
    current = otel_context.get_current()
    outer = trace.get_current_span(current)
    peer = peer_of(outer)
    if peer is not None:
        ADOPTED[adapter.client] = peer
        return Call(request, outer, current, getattr(outer, "start_time", None) or time_ns(), is_own=False)
    attributes: Attributes = {
        sc.GEN_AI_OPERATION_NAME: endpoint.operation,
        sc.GEN_AI_PROVIDER_NAME: request.provider,
    }
    name = endpoint.operation
    if request.model is not None:
        attributes[sc.GEN_AI_REQUEST_MODEL] = request.model
        name = f"{name} {request.model}"
    if request.server_address is not None:
        attributes[sc.SERVER_ADDRESS] = request.server_address
        if request.server_port is not None:
            attributes[sc.SERVER_PORT] = request.server_port
    start_time_ns = time_ns()
    span = tracer.start_span(name, current, SpanKind.CLIENT, attributes, start_time=start_time_ns)
    if not span.get_span_context().is_valid:
        return None
    return Call(request, span, current, start_time_ns, is_own=True, attributes=attributes)


def end_abandoned() -> None:
    """Ends the calls of abandoned streams, as of the moment they were abandoned. Never raises."""
    with suppress(IndexError):  # another thread was faster
        while ABANDONED:
            ABANDONED.popleft()()


class Call:
    """A call whose span is open. As a context manager it makes that span the current one.

    A span that does not record costs almost nothing, but the response still carries its handle: feedback is given on
    responses that were not sampled, too.
    """

    def __init__(
        self,
        request: Request,
        span: Span,
        context: Context,
        start_time_ns: int,
        *,
        is_own: bool,
        attributes: Attributes | None = None,
    ) -> None:
        self.request = request
        self._span = span
        self._context = context
        self._open = [None]
        is_recording = is_own and span.is_recording()
        # Metrics are not sampled: a call whose span is not recorded counts in them all the same.
        self._is_read = is_recording or (is_own and TELEMETRY.meter() is not None)
        self._attributes: Attributes = attributes or {}
        self._content: Attributes = {}
        read_dimensions = request.endpoint.read_dimensions
        dimensions = (read_dimensions and never_raise(read_dimensions, request.body)) or NO_DIMENSIONS
        prompt_name, prompt_version, conversation_id = dimensions
        ids = span.get_span_context()
        self.handle: Handle = (
            ids.trace_id,
            ids.span_id,
            int(ids.trace_flags),
            start_time_ns,
            request.provider,
            request.model,
            prompt_name,
            prompt_version,
            conversation_id,
        )
        self.settings = _settings.current()
        self.has_content = is_recording and self.settings.content != "no_content"
        if self._is_read:
            self._read_request(dimensions)
        self.start_s = perf_counter()

    def __enter__(self) -> Self:
        self._context = trace.set_span_in_context(self._span, self._context)
        self._token: Token[Context] = otel_context.attach(self._context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if error is not None:
            never_raise(self.end, error=error)

    @property
    def is_open(self) -> bool:
        """Whether the call has not ended yet."""
        return bool(self._open)

    def mark(self, *objects: Any) -> None:
        """Puts the handle on objects that the app holds, so that it can give feedback on them."""
        for one in objects:
            attach(one, self.handle)

    def index(self, response_id: Any, response_model: Any) -> None:
        """Makes the response known by its id. What fetches a response does not take it from the call that made it."""
        known = text(response_id)
        if known is None:
            return
        if not self.request.endpoint.is_inference:
            maker = RESPONSES.handle(known)
            if maker is not None:
                self.handle = maker
                return
        RESPONSES.add(known, self.handle, text(response_model))

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
        end_time_ns, end_s = ended or (time_ns(), perf_counter())
        try:
            if response is not None:
                self.index(member(response, "id"), member(response, "model"))
            if self._is_read:
                self._tell(self._read_response(response, error, first_chunk_s), error)
                self._emit(error, end_s - self.start_s, chunk_times_s)
        finally:
            if self._is_read:
                self._span.end(end_time_ns)

    def _tell(self, attributes: Attributes, error: BaseException | None) -> None:
        self._span.set_attributes(attributes)
        if sc.ERROR_TYPE in attributes:
            self._span.set_status(Status(StatusCode.ERROR, self._describe(error, SPAN_MODES)))
        self._attributes.update(attributes)

    def _read_request(self, dimensions: Sequence[str | None]) -> None:
        request, endpoint = self.request, self.request.endpoint
        attributes = never_raise(endpoint.read_request, request.body) or {}
        if request.is_stream:
            attributes[sc.GEN_AI_REQUEST_STREAM] = True
        names = (sc.GEN_AI_PROMPT_NAME, sc.GEN_AI_PROMPT_VERSION, sc.GEN_AI_CONVERSATION_ID)
        attributes.update(zip(names, dimensions, strict=True))
        self._requested = attributes
        if self.has_content and endpoint.read_input is not None:
            clip = Clipper(self.settings.content_limit_bytes)
            self._add_content(never_raise(endpoint.read_input, request.body, clip))

    def _read_response(self, response: Any, error: BaseException | None, first_chunk_s: float | None) -> Attributes:
        """All that the span gets at its end. What the response does not say stays as the request said it."""
        endpoint = self.request.endpoint
        attributes = self._requested
        attributes[sc.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = first_chunk_s
        if response is not None:
            for name, value in (never_raise(endpoint.read_response, response) or {}).items():
                if value is not None:
                    attributes[name] = value
            if self.has_content and endpoint.read_output is not None:
                clip = Clipper(self.settings.content_limit_bytes)
                self._add_content(never_raise(endpoint.read_output, response, clip))
        if self.settings.content in SPAN_MODES:
            attributes.update((name, to_json(value)) for name, value in self._content.items())
        if error is not None:
            attributes[sc.ERROR_TYPE] = type(error).__qualname__
        return {
            name: value if not isinstance(value, str) or value.isascii() else _safe(value)
            for name, value in attributes.items()
            if value is not None
        }

    def _add_content(self, content: Attributes | None) -> None:
        self._content.update((name, value) for name, value in (content or {}).items() if value is not None)

    def _describe(self, error: BaseException | None, with_message: Collection[ContentMode]) -> str:
        """What went wrong. A server's message may quote the prompt, so where content is not captured codes must do."""
        if error is None:
            return "the response says that it failed"
        if self.settings.content in with_message:
            description = never_raise(str, error) or ""
        else:
            codes = (getattr(error, "status_code", None), getattr(error, "code", None))
            description = " ".join(str(code) for code in codes if isinstance(code, (int, str)))
        return _safe(description)[: self.settings.content_limit_bytes]

    def _emit(self, error: BaseException | None, duration_s: float, chunk_times_s: Sequence[float]) -> None:
        meter = TELEMETRY.meter()
        if meter is not None:
            metrics = _metrics_of(meter)
            metrics.record(self._attributes, duration_s, self.request.endpoint.is_inference, self._context)
            if chunk_times_s:
                metrics.record_chunks(self._attributes, chunk_times_s, self._context)
        with_details = self.settings.emit_event and self.request.endpoint.is_inference
        if error is None and not with_details:
            return
        logger = TELEMETRY.logger()
        if logger is None:
            return
        if with_details:
            attributes = {**self._attributes, **(self._content if self.settings.content in EVENT_MODES else {})}
            self._log(logger, sc.EVENT_INFERENCE_DETAILS, SeverityNumber.DEBUG, attributes)
        if error is not None:
            self._log(logger, sc.EVENT_OPERATION_EXCEPTION, SeverityNumber.WARN, self._exception_of(error))

    def _exception_of(self, error: BaseException) -> Attributes:
        qualified = f"{type(error).__module__}.{type(error).__qualname__}"
        attributes = {
            sc.EXCEPTION_TYPE: qualified.removeprefix("builtins."),
            sc.EXCEPTION_STACKTRACE: "".join(traceback.format_tb(error.__traceback__)),
        }
        description = self._describe(error, EVENT_MODES)
        return {**attributes, sc.EXCEPTION_MESSAGE: description} if description else attributes

    def _log(self, logger: Any, name: str, severity: SeverityNumber, attributes: Attributes) -> None:
        record = LogRecord(
            timestamp=time_ns(),
            context=self._context,
            severity_number=severity,
            severity_text=severity.name,
            event_name=name,
            attributes=attributes,
        )
        logger.emit(record)


def _metrics_of(meter: Any) -> ClientMetrics:
    known = _metrics_by_meter.get(id(meter))
    if known is None or known[0] is not meter:
        _metrics_by_meter.clear()
        known = _metrics_by_meter[id(meter)] = (meter, ClientMetrics(meter))
    return known[1]


def _safe(value: str) -> str:
    """A text that can be sent: half of a surrogate pair would make the exporter drop its whole batch."""
    return value.encode("utf-8", "replace").decode()
