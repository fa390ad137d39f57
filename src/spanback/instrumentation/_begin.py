"""The begin of a call: nothing to do, a span of our own, or a watch for the span that somebody else makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token
from time import perf_counter, time_ns
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Tracer

from spanback import semconv as sc
from spanback._settings import IN_FORCE
from spanback._settings import current as current_settings
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Adapter, Attributes, Endpoint, Request
from spanback.instrumentation._adopt import ADOPTED, CAPTURE, WITHIN, peer_of
from spanback.instrumentation._call import ABANDONED, Call, end_abandoned
from spanback.instrumentation._noticing import NOTICING
from spanback.instrumentation._silence import silenced

_ALL_CLIENTS: Final = "*"


def begin(
    adapter: Adapter, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any], peer_inside: str | None = None
) -> Call | Capture | None:
    """Begins a call that is about to be made.

    Args:
        adapter: Of the client.
        instance: The object whose method is called; None for a function of a module.
        args: The positional arguments.
        kwargs: The keyword arguments.
        peer_inside: Who has wrapped the function before us, and will make a span inside the call.

    Returns:
        The call, or None where nothing is to be done: no model call, nobody who records, suppressed by
        `suppress_instrumentation()`, or part of a call that has already begun.
    """
    endpoint = adapter.find_endpoint(args, kwargs)
    if endpoint is None:
        return None
    if ABANDONED:
        end_abandoned()
    tracer = TELEMETRY.tracer()
    if tracer is None:
        return None
    current = otel_context.get_current()
    # An empty context suppresses nothing and holds no span.
    if current and (not is_instrumentation_enabled() or current.get(WITHIN) in {adapter.client, _ALL_CLIENTS}):
        return None
    request = adapter.read(endpoint, instance, args, kwargs)
    if (IN_FORCE.settings or current_settings()).adopt:
        others = _of_others(adapter, request, instance, peer_inside=peer_inside, current=current, tracer=tracer)
        if others is not None:
            return others
        if endpoint.encloses:
            current = otel_context.set_value(WITHIN, _ALL_CLIENTS, current)
    else:
        if endpoint.silence is not None:
            endpoint.silence(args, kwargs)
        current = otel_context.set_value(WITHIN, _within(adapter, endpoint), silenced(current))
    call = _open(request, tracer, current, time_ns())
    if call.handle[0]:
        return call
    call.leave()  # the tracer makes nothing but stand-ins without a trace id
    return None


def _of_others(
    adapter: Adapter, request: Request, instance: Any, *, peer_inside: str | None, current: Context, tracer: Tracer
) -> Call | Capture | None:
    """The call where somebody else makes its span: around it already, or inside it later."""
    if current:
        outer = trace.get_current_span(current)
        peer = peer_of(outer)
        if peer is not None:
            ADOPTED[adapter.client] = peer
            return Call(request, outer, current, getattr(outer, "start_time", None) or time_ns(), is_own=False)
    traces_itself = adapter.traces_itself
    is_traced_inside = (
        peer_inside is not None
        or (traces_itself is not None and traces_itself(instance))
        or (request.endpoint.encloses and NOTICING.has_peers())
    )
    return Capture(adapter, request, tracer, current) if is_traced_inside else None


def _within(adapter: Adapter, endpoint: Endpoint) -> str:
    return _ALL_CLIENTS if endpoint.encloses else adapter.client


def _open(request: Request, tracer: Tracer, context: Context, start_time_ns: int) -> Call:
    """A call with a span of our own."""
    endpoint = request.endpoint
    name = endpoint.operation
    attributes: Attributes = {sc.GEN_AI_OPERATION_NAME: name, sc.GEN_AI_PROVIDER_NAME: request.provider}
    if request.model is not None:
        attributes[sc.GEN_AI_REQUEST_MODEL] = request.model
        name = f"{name} {request.model}"
    if request.server_address is not None:
        attributes[sc.SERVER_ADDRESS] = request.server_address
        if request.server_port is not None:
            attributes[sc.SERVER_PORT] = request.server_port
    attributes.update(endpoint.constants)
    span = tracer.start_span(name, context, SpanKind.CLIENT, attributes, start_time=start_time_ns)
    return Call(request, span, context, start_time_ns, is_own=True, attributes=attributes)


class Capture:
    """A call in which somebody else is expected to make the span. If nobody does, ours is made afterwards."""

    __slots__ = (
        "_adapter",
        "_context",
        "_found",
        "_request",
        "_settled",
        "_start_s",
        "_start_time_ns",
        "_token",
        "_tracer",
    )

    def __init__(self, adapter: Adapter, request: Request, tracer: Tracer, context: Context) -> None:
        self._adapter = adapter
        self._request = request
        self._tracer = tracer
        self._context = context
        self._found: list[Span] = []
        self._settled: Call | None = None
        self._start_time_ns = time_ns()
        self._start_s = perf_counter()
        captured = otel_context.set_value(CAPTURE, self._found, context)
        captured = otel_context.set_value(WITHIN, _within(adapter, request.endpoint), captured)
        # Last, since nothing may go wrong between this and `leave`.
        self._token: Token[Context] = otel_context.attach(captured)

    def leave(self) -> None:
        """The context that was current before the call is so again."""
        otel_context.detach(self._token)

    def settle(self) -> Call:
        """The call, once it is known whose span it has. To be asked after `leave`."""
        if self._settled is None:
            call = self._adopted() or _open(self._request, self._tracer, self._context, self._start_time_ns)
            call.leave()
            call.start_s = self._start_s
            self._settled = call
        return self._settled

    def fail(self, error: BaseException) -> None:
        """The call has raised into the app."""
        self.leave()
        self.settle().end(error=error)

    def end(self) -> None:
        """The call has returned something that nobody can read."""
        self.settle().end()

    def _adopted(self) -> Call | None:
        if not self._found:
            return None
        span: Any = self._found[0]
        ADOPTED[self._adapter.client] = span.instrumentation_scope.name
        start_time_ns = getattr(span, "start_time", None) or self._start_time_ns
        return Call(self._request, span, self._context, start_time_ns, is_own=False)
