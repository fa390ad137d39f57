"""Connections on which several responses are made, one after another or at once: one call each."""

from __future__ import annotations

import functools
from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter, time_ns
from typing import Any, Final

from spanback._never_raise import never_raise
from spanback._spanref import attach
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Accumulator, Adapter, Session
from spanback.instrumentation._begin import Capture, Site, begin
from spanback.instrumentation._call import ABANDONED, Call, end_abandoned

_ATTRIBUTE: Final = "_spanback_session"
_MOST_OPEN: Final = 64


def saying(session: Session, adapter: Adapter, wrapped: Callable[..., Any], is_live: Callable[[], bool]) -> Any:
    """A method that sends, sync or async: what is sent may ask for a response, whose call then begins."""

    def say(instance: Any, *args: Any, **kwargs: Any) -> Any:
        if is_live():
            never_raise(_say, session, adapter, instance, args, kwargs)
        return wrapped(instance, *args, **kwargs)

    return functools.wraps(wrapped)(say)


def hearing(session: Session, adapter: Adapter, wrapped: Callable[..., Any], is_live: Callable[[], bool]) -> Any:
    """A method that gives each event that has arrived: it may begin a response, go on with it, or end it."""

    def hear(instance: Any, *args: Any, **kwargs: Any) -> Any:
        event = wrapped(instance, *args, **kwargs)
        if is_live():
            never_raise(_hear, session, adapter, instance, event)
        return event

    return functools.wraps(wrapped)(hear)


class _Open:
    """A call whose response is being made."""

    def __init__(self, call: Call) -> None:
        make = call.request.endpoint.accumulator
        self.call = call
        self.accumulator: Accumulator | None = make(call.has_content) if make else None
        self.first_chunk_s: float | None = None

    def hear(self, event: Any) -> None:
        if self.first_chunk_s is None:
            self.first_chunk_s = perf_counter() - self.call.start_s
        if self.accumulator is not None:
            self.accumulator.add([event])

    def end(self, response: Any = None) -> None:
        if response is None and self.accumulator is not None:
            response = never_raise(self.accumulator.response)
        self.call.end(response, first_chunk_s=self.first_chunk_s)


class _Conversation:
    """What is open on one connection. The oldest goes when there are too many: a server may never answer."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.asked: deque[Call] = deque()
        self.open: OrderedDict[str, _Open] = OrderedDict()

    def __del__(self) -> None:
        ended = (time_ns(), perf_counter())
        for call in (*self.asked, *(one.call for one in self.open.values())):
            ABANDONED.append(functools.partial(call.end, ended=ended))


def _conversation(instance: Any) -> _Conversation:
    own = vars(instance)
    found = own.get(_ATTRIBUTE)
    if found is None:
        TELEMETRY.before_flush.add(end_abandoned)
        found = own.setdefault(_ATTRIBUTE, _Conversation())  # one thread may send while another one receives
    return found


def _say(session: Session, adapter: Adapter, instance: Any, args: Any, kwargs: Any) -> None:
    event = args[0] if args else kwargs.get("event")
    body = session.asks(event)
    if body is None:
        return
    conversation = _conversation(instance)
    call = _begin(session, adapter, instance, body, conversation)
    if call is not None:
        conversation.asked.append(call)
        if len(conversation.asked) > _MOST_OPEN:
            conversation.asked.popleft().end()


def _hear(session: Session, adapter: Adapter, instance: Any, event: Any) -> None:
    conversation = _conversation(instance)
    heard = session.hears(event)
    if heard is None:
        return
    conversation.model = heard.model or conversation.model
    if heard.state == "begun":
        _begun(session, adapter, instance, conversation, heard.response_id)
    key = heard.response_id or next(reversed(conversation.open), "")
    found = conversation.open.get(key)
    if found is None:
        return
    attach(event, found.call.handle)
    if heard.response is not None:
        attach(heard.response, found.call.handle)
    if heard.state == "chunk":
        found.hear(event)
    elif heard.state == "ended":
        del conversation.open[key]
        found.end(heard.response)


def _begun(session: Session, adapter: Adapter, instance: Any, conversation: _Conversation, key: str | None) -> None:
    """A response has begun: one that was asked for, or one that the server makes by itself."""
    is_asked_for = bool(conversation.asked)
    call = conversation.asked.popleft() if is_asked_for else _begin(session, adapter, instance, {}, conversation)
    if call is None or key is None:
        return
    call.index(key, None)
    conversation.open[key] = _Open(call)
    if len(conversation.open) > _MOST_OPEN:
        conversation.open.popitem(last=False)[1].end()


def _begin(session: Session, adapter: Adapter, instance: Any, body: Any, conversation: _Conversation) -> Call | None:
    site = Site(session.adapter(adapter), None, session.endpoint)
    call = begin(site, instance, (body, conversation.model), {})
    if call is None:
        return None
    call.leave()
    return call.settle() if isinstance(call, Capture) else call
