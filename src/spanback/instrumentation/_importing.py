"""Modules that a thread is still importing: they are in `sys.modules`, and much of them is not there yet.

To wait for another thread inside of `instrument()` could take seconds, or for ever. So it is that thread which goes
on: the last thing Python does to a module, however its import ends, is to note on its spec that it is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from itertools import accumulate
from typing import Any, Final

from spanback._never_raise import never_raise

_NOTE: Final = "_initializing"
_WAITING: Final = "_spanback_waiting"


class _WatchedSpec(ModuleSpec):
    """The spec of a module that is being imported, until that is over. Its state is in its own dict, as ever."""

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == _NOTE and not value:
            _tell(self)


_KINDS: Final = (ModuleSpec, _WatchedSpec)


def is_importing(module: str) -> bool:
    """Whether an import of a module, or of a package around it, is going on."""
    return any(_spec_of(name) is not None for name in _around(module))


def once_imported(module: str, then: Callable[[], object]) -> bool:
    """Calls a function as soon as an import that is going on is over, in the thread that makes it.

    Args:
        module: Full name of a module. It may also be a package around it that is still being imported.
        then: Is called when the import has succeeded or failed. What it raises is not passed on.

    Returns:
        False where no import is going on; nothing is called then.
    """
    return any(_once_over(name, then) for name in _around(module))


def _around(module: str) -> Iterator[str]:
    """The packages around a module, from the outermost, and the module itself."""
    return accumulate(module.split("."), "{}.{}".format)


def _spec_of(module: str) -> Any:
    """The spec of a module that is being imported, else None."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec if type(spec) in _KINDS and getattr(spec, _NOTE, False) else None


def _once_over(module: str, then: Callable[[], object]) -> bool:
    spec = _spec_of(module)
    if spec is None:
        return False
    key = object()
    waiting: dict[object, Callable[[], object]] = spec.__dict__.setdefault(_WAITING, {})
    waiting[key] = then
    spec.__class__ = _WatchedSpec
    if getattr(spec, _NOTE):
        return True
    # It was over before anybody watched. Whoever takes the function out goes on.
    spec.__class__ = ModuleSpec
    return waiting.pop(key, None) is None


def _tell(spec: Any) -> None:
    waiting: dict[object, Callable[[], object]] = spec.__dict__.pop(_WAITING, {})
    spec.__class__ = ModuleSpec
    for key in tuple(waiting):
        never_raise(waiting.pop(key, bool))  # which does nothing, where it was taken out
