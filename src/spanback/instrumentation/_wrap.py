"""Putting the engine around a client's functions, and taking it away again without a trace."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import wrapt

from spanback._never_raise import never_raise
from spanback._spanref import attach
from spanback.instrumentation._adapter import Adapter, Target
from spanback.instrumentation._call import ADOPTED, Call, begin, end_abandoned
from spanback.instrumentation._streams import watch
from spanback.instrumentation.providers import ADAPTERS

State = Literal["patched", "adopted", "not imported", "not instrumented", "not installed", "missing attribute"]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What became of one function that spanback wraps.

    Attributes:
        client: The client's name, as in `instrument(clients=[...])`.
        target: Module and path of the function; the package's name where it is not installed.
        state: `patched`; `not imported` while the app has not imported the client, which is then patched as soon as
            it does; `not instrumented` where `instrument()` was not called for the client; `not installed`; `missing
            attribute` where this version of the client lacks the function; `adopted` where another instrumentation
            makes the spans, and feedback binds to those.
        version: The client's installed version, or None.
        detail: A sentence on the state, or None.
    """

    client: str
    target: str
    state: State
    version: str | None
    detail: str | None = None


@dataclass(slots=True)
class _Patch:
    client: str
    owner: Any
    name: str
    original: Any
    wrapper: Any = None
    is_live: bool = True


class Wrapping:
    """What is wrapped in this process."""

    def __init__(self) -> None:
        self._clients: frozenset[str] = frozenset()
        self._hooked: set[str] = set()
        self._patches: dict[Target, _Patch] = {}
        self._missing: set[Target] = set()

    def install(self, clients: Iterable[str]) -> None:
        """Wraps the clients that are imported, and the others when they are. Imports none. Twice is harmless.

        Clients that an earlier call named and this one does not are given back.
        """
        self._clients = frozenset(clients)
        self._give_back()
        for client in sorted(self._clients):
            module = f"{client}._base_client"
            if module in sys.modules:
                self._patch_client(client)
            elif client not in self._hooked:
                self._hooked.add(client)
                wrapt.register_post_import_hook(self._on_import(client), module)

    def remove(self) -> None:
        """Puts back the very function objects that were there.

        Where somebody has wrapped ours, or holds it as a bound method, ours stays and passes calls on.
        """
        end_abandoned()
        self._clients = frozenset()
        self._give_back()
        self._missing.clear()
        ADOPTED.clear()

    def status(self) -> list[TargetStatus]:
        """One line a target, clients in the table's order."""
        lines: list[TargetStatus] = []
        for client in ADAPTERS:
            installed = _version_of(client)
            if installed is None:
                lines.append(TargetStatus(client, client, "not installed", None))
                continue
            for target in _adapter_of(client).targets:
                state, detail = self._state_of(client, target)
                lines.append(TargetStatus(client, f"{target.module}.{target.path}", state, installed, detail))
        return lines

    def _state_of(self, client: str, target: Target) -> tuple[State, str | None]:
        if client not in self._clients:
            return "not instrumented", "instrument() was not called for it"
        if target in self._missing:
            return "missing attribute", "this version of the client has no such function; calls through it are not seen"
        if target not in self._patches:
            return "not imported", "patched as soon as the app imports it"
        peer = ADOPTED.get(client)
        return ("adopted", f"spans are made by {peer}") if peer else ("patched", None)

    def _give_back(self) -> None:
        for target, patch in tuple(self._patches.items()):
            if patch.client not in self._clients:
                patch.is_live = False
                if vars(patch.owner).get(patch.name) is patch.wrapper:
                    setattr(patch.owner, patch.name, patch.original)
                del self._patches[target]

    def _on_import(self, client: str) -> Callable[[Any], None]:
        def patch(_module: Any) -> None:
            self._hooked.discard(client)
            if client in self._clients:
                never_raise(self._patch_client, client)

        return patch

    def _patch_client(self, client: str) -> None:
        adapter = _adapter_of(client)
        for target in adapter.targets:
            if target not in self._patches:
                self._patch_target(adapter, target)

    def _patch_target(self, adapter: Adapter, target: Target) -> None:
        try:
            owner, name, original = wrapt.resolve_path(importlib.import_module(target.module), target.path)
        except (ImportError, AttributeError):
            self._missing.add(target)
            return
        patch = self._patches[target] = _Patch(adapter.client, owner, name, original)
        make = _async_wrapper if target.is_async else _wrapper
        patch.wrapper = make(adapter, patch)
        setattr(owner, name, patch.wrapper)


WRAPPING: Final = Wrapping()
"""The wrapping of this process."""


# Plain functions: a call through wrapt's proxy costs 3 us more.


def _wrapper(adapter: Adapter, patch: _Patch) -> Callable[..., Any]:
    wrapped = patch.original

    @functools.wraps(wrapped)
    def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        call = never_raise(begin, adapter, instance, args, kwargs) if patch.is_live else None
        if call is None:
            return wrapped(instance, *args, **kwargs)
        try:
            result = wrapped(instance, *args, **kwargs)
        except BaseException as error:
            never_raise(call.fail, error)
            raise
        if not never_raise(_end_or_watch, adapter, call, result):
            never_raise(call.end)
        return result

    return around


def _async_wrapper(adapter: Adapter, patch: _Patch) -> Callable[..., Any]:
    wrapped = patch.original

    @functools.wraps(wrapped)
    async def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        call = never_raise(begin, adapter, instance, args, kwargs) if patch.is_live else None
        if call is None:
            return await wrapped(instance, *args, **kwargs)
        try:
            result = await wrapped(instance, *args, **kwargs)
        except BaseException as error:
            never_raise(call.fail, error)
            raise
        if not never_raise(_end_or_watch, adapter, call, result):
            never_raise(call.end)
        return result

    return around


def _end_or_watch(adapter: Adapter, call: Call, result: Any) -> bool:
    """Ends the call, or lets what came back end it. True when that went well."""
    call.leave()
    received = adapter.sort(call.request, result)
    if received is None:
        call.end(result)
        attach(result, call.handle)
    elif received.stream is not None or received.pending is not None:
        call.mark(result, received.stream)
        watch(call, received)
    else:
        call.end(received.response)
        call.mark(result, received.response)
    return True


def _adapter_of(client: str) -> Adapter:
    return importlib.import_module(ADAPTERS[client]).ADAPTER


def _version_of(client: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 10 ms that only `status()` needs

    try:
        return version(client)
    except PackageNotFoundError:
        return None
