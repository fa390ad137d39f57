"""Putting the engine around a client's functions, and taking it away again without a trace."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import wrapt

from spanback._never_raise import never_raise
from spanback.instrumentation._adapter import Adapter, Target
from spanback.instrumentation._adopt import ADOPTED, peer_in
from spanback.instrumentation._around import Patch, only_if, wrapper_of
from spanback.instrumentation._call import end_abandoned
from spanback.instrumentation._importing import is_importing, once_imported
from spanback.instrumentation._steps import give_back_steps
from spanback.instrumentation.providers import CLIENTS

if TYPE_CHECKING:
    from spanback.instrumentation._status import State, TargetStatus


class Wrapping:
    """What is wrapped in this process."""

    def __init__(self) -> None:
        self._clients: frozenset[str] = frozenset()
        self._hooked: set[tuple[str, str]] = set()
        self._patches: list[Patch] = []
        self._missing: set[Target] = set()

    def install(self, clients: Iterable[str]) -> None:
        """Wraps the clients that are imported, and the others when they are. Imports none. Twice is harmless.

        Clients that an earlier call named and this one does not are given back.
        """
        self._clients = frozenset(clients) & frozenset(CLIENTS)
        self._give_back()
        for client in sorted(self._clients):
            for module in _either(CLIENTS[client].module):
                self._once_whole(client, module)

    def remove(self) -> None:
        """Puts back the very function objects that were there.

        Where somebody has wrapped ours, or holds it as a bound method, ours stays and passes calls on.
        """
        end_abandoned()
        self._clients = frozenset()
        self._give_back()
        give_back_steps()
        self._missing.clear()
        ADOPTED.clear()

    def status(self) -> list[TargetStatus]:
        """One line a target, clients in the table's order."""
        from spanback.instrumentation._status import TargetStatus  # noqa: PLC0415 - few apps ask

        lines: list[TargetStatus] = []
        for name, client in CLIENTS.items():
            installed = _version_of(client.distribution)
            if installed is None:
                lines.append(TargetStatus(name, client.distribution, "not installed", None))
                continue
            for target in _adapter_of(name).targets:
                if target.unless is not None and not _is_missing(target.unless):
                    continue
                if target.stands_in is not None and target in self._missing:
                    continue  # no call goes through it
                state, detail = self._state_of(name, target)
                lines.append(TargetStatus(name, f"{_module_of(target)}.{target.path}", state, installed, detail))
        return lines

    def _state_of(self, client: str, target: Target) -> tuple[State, str | None]:
        if client not in self._clients:
            return "not instrumented", "instrument() was not called for it"
        if target in self._missing:
            return "missing attribute", "this version of the client has no such function; calls through it are not seen"
        if not any(patch.target == target for patch in self._patches):
            return "not imported", "patched as soon as the app imports it"
        peer = ADOPTED.get(client)
        return ("adopted", f"spans are made by {peer}") if peer else ("patched", None)

    def _give_back(self) -> None:
        for patch in tuple(self._patches):
            if patch.client not in self._clients:
                patch.is_live = False
                if getattr(patch.owner, patch.name, None) is patch.wrapper:
                    setattr(patch.owner, patch.name, patch.original)
                self._patches.remove(patch)

    def _once_whole(self, client: str, module: str) -> None:
        """Patches a client when a module of it is imported, and all around it: now, or as soon as that is so."""
        if client not in self._clients or once_imported(module, functools.partial(self._once_whole, client, module)):
            return
        if module in sys.modules:
            never_raise(self._patch_client, client)
        elif (client, module) not in self._hooked:
            self._hooked.add((client, module))
            wrapt.register_post_import_hook(functools.partial(self._on_import, client, module), module)

    def _on_import(self, client: str, module: str, _module: Any) -> None:
        self._hooked.discard((client, module))
        never_raise(self._once_whole, client, module)

    def _patch_client(self, client: str) -> None:
        adapter = _adapter_of(client)
        for target in adapter.targets:
            if target.unless is not None and not _is_missing(target.unless):
                continue
            names = _either(target.module)
            if any(once_imported(name, functools.partial(self._once_whole, client, name)) for name in names):
                continue
            modules = [module for module in names if not _is_missing(module)]
            if not modules:
                self._missing.add(target)
            for module in modules:
                if module in sys.modules:
                    self._patch_target(adapter, target, module)
                else:
                    self._once_whole(client, module)

    def _patch_target(self, adapter: Adapter, target: Target, module: str) -> None:
        if any(patch.target == target for patch in self._patches):
            return
        try:
            owner, name, original = wrapt.resolve_path(sys.modules[module], target.path)
            if target.closure is not None:
                owner, name = _cell(original, target.closure), "cell_contents"
                original = owner.cell_contents
        except AttributeError:
            self._missing.add(target)
            return
        self._missing.discard(target)  # it may have been there in no module that was imported before
        self._patch(adapter, target, owner, name, original)
        if target.shadowed_by is not None:
            self._patch_shadows(adapter, target, owner, original)

    def _patch_shadows(self, adapter: Adapter, target: Target, owner: Any, original: Any) -> None:
        """Wraps what others have put on subclasses, where calls go past the class that the target names.

        A peer that is taken away leaves the client's own function there. So `shadowed_by` is wrapped, too: it wraps
        the subclass anew, and makes the span of the one call that would be lost.
        """
        name = target.path.rpartition(".")[2]

        def is_missed(instance: Any) -> bool:
            if getattr(type(instance), name) is not original:
                return False
            never_raise(self._patch_again, adapter, target, type(instance), name)
            return True

        shadows = [one for one in _subclasses(owner) if name in vars(one)]
        # One that an app has written itself calls the method of its base class.
        shadows = [one for one in shadows if vars(one)[name] is original or peer_in(vars(one)[name]) is not None]
        for shadow in shadows:
            self._patch(adapter, target, shadow, name, vars(shadow)[name])
        inner = vars(owner).get(target.shadowed_by or "")
        if shadows and inner is not None:
            patch = self._patch(adapter, target, owner, target.shadowed_by or "", inner)
            patch.wrapper = only_if(is_missed, patch.wrapper, inner)
            setattr(owner, patch.name, patch.wrapper)

    def _patch_again(self, adapter: Adapter, target: Target, cls: type, name: str) -> None:
        owner = next(one for one in cls.__mro__ if name in vars(one))
        self._patch(adapter, target, owner, name, vars(owner)[name])

    def _patch(self, adapter: Adapter, target: Target, owner: Any, name: str, original: Any) -> Patch:
        patch = Patch(adapter.client, target, owner, name, original=original, peer=peer_in(original))
        patch.wrapper = wrapper_of(adapter, patch)
        self._patches.append(patch)
        setattr(owner, name, patch.wrapper)
        return patch


WRAPPING: Final = Wrapping()
"""The wrapping of this process."""


def _cell(function: Any, name: str) -> Any:
    """The cell of a variable in a function's closure, or in that of the one it wraps.

    Raises:
        AttributeError: There is none.
    """
    while name not in function.__code__.co_freevars:
        function = function.__wrapped__
    return function.__closure__[function.__code__.co_freevars.index(name)]


def _subclasses(cls: type) -> Iterator[type]:
    for one in cls.__subclasses__():
        yield one
        yield from _subclasses(one)


def _either(module: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names that a module has in the releases of a client."""
    return (module,) if isinstance(module, str) else module


def _module_of(target: Target) -> str:
    """The module of a target in the release that is imported; in the newest where that cannot be told."""
    names = _either(target.module)
    return next((name for name in names if not _is_missing(name)), names[0])


def _is_missing(module: str) -> bool:
    """Whether a client that is imported lacks a module. Nothing is imported, and for no import waited, to find out."""
    parent = module.rpartition(".")[0]
    if module in sys.modules or not parent or is_importing(module):
        return False
    if parent in sys.modules:
        return not hasattr(sys.modules[parent], "__path__") or find_spec(module) is None
    if parent.rpartition(".")[0] not in sys.modules:
        return False
    spec = find_spec(parent)
    return spec is None or spec.submodule_search_locations is None


def _adapter_of(client: str) -> Adapter:
    return importlib.import_module(CLIENTS[client].adapter).ADAPTER


def _version_of(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 10 ms that only `status()` needs

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
