"""The begin of a call: nothing to do, a span of our own, or a watch for the span that somebody else makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token
from functools import partial
from time import perf_counter, time_ns
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span, Tracer

from spanback import semconv as sc
from spanback._never_raise import never_raise
from spanback._said import Entry, with_entry
from spanback._settings import IN_FORCE
from spanback._settings import current as current_settings
from spanback._spans import start_client_span
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Adapter, Attributes, Endpoint, Request
from spanback.instrumentation._adopt import ADOPTED, CAPTURE, WITHIN, around
from spanback.instrumentation._call import ABANDONED, Call, end_abandoned
from spanback.instrumentation._noticing import NOTICING
from spanback.instrumentation._silence import is_silent, is_suppressed_now, lift, silenced

_ALL_CLIENTS: Final = "*"


class Site:
    """One function that is wrapped.

    Attributes:
        adapter: Of the client.
        peer: Who has wrapped the function before us, and will make a span inside the call; None for nobody.
        endpoint: Where the function's calls go; None where the adapter finds that out for each.
        may_be_traced: Whether somebody else may make a span inside the call.
    """

    __slots__ = ("adapter", "endpoint", "may_be_traced", "peer")

    def __init__(self, adapter: Adapter, peer: str | None, endpoint: Endpoint | None) -> None:
        self.adapter = adapter
        self.peer = peer
        self.endpoint = endpoint
        self.may_be_traced = peer is not None or adapter.traces_itself is not None


def begin(  # noqa: C901, PLR0912 - one row of questions, for every call; a function for each would cost more than the answer
    site: Site, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any], entry: Entry | None = None
) -> Call | Capture | None:
    """Begins a call that is about to be made.

    Args:
        site: The function that is called.
        instance: The object whose method it is; None for a function of a module.
        args: The positional arguments.
        kwargs: The keyword arguments.
        entry: What the app said of its calls when the function was called, where that was before; None for now.

    Returns:
        The call, or None where nothing is to be done: no model call, nobody who records, suppressed by
        `suppress_instrumentation()`, or part of a call that has already begun.
    """
    adapter = site.adapter
    endpoint = site.endpoint or adapter.find_endpoint(args, kwargs)
    if endpoint is None:
        return None
    if ABANDONED:
        end_abandoned()
    tracer = TELEMETRY.tracer()
    if tracer is None:
        return None
    current = otel_context.get_current()
    if current and current.get(WITHIN) in {adapter.client, _ALL_CLIENTS}:
        return None
    if entry is not None:
        current = with_entry(current, entry)
    is_adopting = (IN_FORCE.settings or current_settings()).adopt
    theirs = around(current, with_unseen=NOTICING.is_needed) if current or NOTICING.is_needed else None
    is_suppressed = bool(current) and is_suppressed_now()
    if theirs is not None and is_adopting:
        ADOPTED[adapter.client] = theirs.peer
        if theirs.span is None:  # it will be made only after the call
            return None
        return _adopted(theirs.span, adapter.read(endpoint, instance, args, kwargs), current, is_made=False)
    # A peer may suppress all others around the call that it traces.
    if is_suppressed and theirs is None:
        return None
    if is_adopting and (site.may_be_traced or endpoint.encloses) and _is_traced_inside(site, endpoint, instance):
        return Capture(adapter, adapter.read(endpoint, instance, args, kwargs), tracer, current, kwargs)
    if endpoint.silence is not None and not is_adopting:
        endpoint.silence(instance, args, kwargs, is_silent)
    if endpoint.encloses or not is_adopting:
        current = _enclosing(adapter, endpoint, current, is_adopting=is_adopting)
    call = _open(
        adapter.read(endpoint, instance, args, kwargs), tracer, current, time_ns(), kwargs, is_lifted=is_suppressed
    )
    if endpoint.take_place is not None:
        never_raise(endpoint.take_place, kwargs, partial(_stand_in, call.stand_in(), tracer, is_adopting))
    if call.handle[0]:
        return call
    return call.leave()  # the tracer makes nothing but stand-ins without a trace id


def _adopted(span: Any, request: Request, context: Context, *, is_made: bool) -> Call:
    """A call with a span of somebody else."""
    start_time_ns = getattr(span, "start_time", None) or time_ns()
    return Call(request, span, context, start_time_ns, is_own=False, is_made=is_made)


def _is_traced_inside(site: Site, endpoint: Endpoint, instance: Any) -> bool:
    """Whether somebody else is expected to make a span inside the call."""
    traces_itself = site.adapter.traces_itself
    return (
        site.peer is not None
        or (traces_itself is not None and traces_itself(instance))
        or (endpoint.encloses and NOTICING.has_peers())
    )


def _enclosing(adapter: Adapter, endpoint: Endpoint, context: Context, *, is_adopting: bool) -> Context:
    """A context in which the calls that belong to this one have no span of their own."""
    context = otel_context.set_value(WITHIN, _within(adapter, endpoint), context)
    return context if is_adopting else silenced(context)


def _within(adapter: Adapter, endpoint: Endpoint) -> str:
    return _ALL_CLIENTS if endpoint.encloses else adapter.client


def _stand_in(span: Span, tracer: Tracer, is_adopting: bool, other: Any) -> Span | None:
    """The span for one that another tracer would make: in any case, or where that would go where ours do."""
    may_go = not is_adopting or getattr(other, "span_processor", other) is getattr(tracer, "span_processor", None)
    return span if may_go else None


def _open(
    request: Request,
    tracer: Tracer,
    context: Context,
    start_time_ns: int,
    kwargs: Mapping[str, Any],
    *,
    is_lifted: bool = False,
) -> Call:
    """A call with a span of our own: a new one, or that of the attempt before.

    It is lifted out of what somebody around it suppresses.
    """
    endpoint, model = request.endpoint, request.model
    name = endpoint.operation
    attributes: Attributes = {
        sc.GEN_AI_OPERATION_NAME: name,
        sc.GEN_AI_PROVIDER_NAME: request.provider,
        **endpoint.constants,
    }
    if model is not None:
        attributes[sc.GEN_AI_REQUEST_MODEL] = model
        name = f"{name} {model}"
    if request.server_address is not None and endpoint.retries is None:
        attributes[sc.SERVER_ADDRESS] = request.server_address
        if request.server_port is not None:
            attributes[sc.SERVER_PORT] = request.server_port
    attempts = None
    if endpoint.retries is not None:
        from spanback.instrumentation._attempts import attempts_of  # noqa: PLC0415 - for clients that try again this way

        attempts = attempts_of(endpoint.retries, kwargs, context)
        call = attempts.resume()
        if call is not None:
            call.attempts = attempts
            call.again(request, name, attributes)
            return call
    token = lift() if is_lifted else None
    try:
        span = start_client_span(tracer, name, context, attributes, start_time_ns)
    finally:
        if token is not None:
            otel_context.detach(token)
    return Call(
        request,
        span,
        context,
        start_time_ns,
        is_own=True,
        attributes=attributes,
        attempts=attempts,
        is_lifted=is_lifted,
    )


class Capture:
    """A call in which somebody else is expected to make the span. If nobody does, ours is made afterwards."""

    __slots__ = (
        "_adapter",
        "_context",
        "_found",
        "_kwargs",
        "_request",
        "_settled",
        "_start_s",
        "_start_time_ns",
        "_token",
        "_tracer",
    )

    def __init__(
        self, adapter: Adapter, request: Request, tracer: Tracer, context: Context, kwargs: Mapping[str, Any]
    ) -> None:
        self._adapter = adapter
        self._request = request
        self._kwargs = kwargs
        self._tracer = tracer
        # For what a stream sends only when it is read.
        self._context = otel_context.set_value(WITHIN, _ALL_CLIENTS, context) if request.endpoint.encloses else context
        self._found: list[Span] = []
        self._settled: Call | None = None
        self._start_time_ns = time_ns()
        self._start_s = perf_counter()
        captured = Context({**context, CAPTURE: self._found, WITHIN: _within(adapter, request.endpoint)})
        # Last, since nothing may go wrong between this and `leave`.
        self._token: Token[Context] = otel_context.attach(captured)

    def leave(self) -> None:
        """The context that was current before the call is so again."""
        otel_context.detach(self._token)

    def settle(self) -> Call:
        """The call, once it is known whose span it has. To be asked after `leave`."""
        if self._settled is None:
            if self._found:
                span: Any = self._found[0]
                call = _adopted(span, self._request, self._context, is_made=True)
                ADOPTED[self._adapter.client] = span.instrumentation_scope.name
            else:
                call = _open(self._request, self._tracer, self._context, self._start_time_ns, self._kwargs)
                take_place = self._request.endpoint.take_place
                if take_place is not None:
                    never_raise(take_place, self._kwargs, partial(_stand_in, call.stand_in(), self._tracer, True))
                call.leave()
            call.start_s = min(self._start_s, call.start_s)
            self._settled = call
        return self._settled

    def fail(self, error: BaseException) -> None:
        """The call has raised into the app."""
        self.leave()
        self.settle().give_up(error)

    def end(self) -> None:
        """The call has returned something that nobody can read."""
        self.settle().end()
