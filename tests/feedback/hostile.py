"""Values of an app's own classes that fail wherever they are looked at as objects."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Any


class Hostile:
    """An object all of whose methods fail."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __eq__ = __hash__ = __repr__ = __str__ = __bool__ = __iter__ = __len__ = __getitem__ = __float__ = _fail
    __int__ = __index__ = __call__ = __contains__ = __lt__ = __format__ = __await__ = _fail

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class HostileText(str):
    """A text that fails where it is looked at as an object."""

    __slots__ = ()

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __format__ = __len__ = __iter__ = strip = encode = isprintable = splitlines = _fail
    __getitem__ = __hash__ = __eq__ = __contains__ = startswith = count = isascii = _fail


class HostileMapping(dict[Any, Any]):
    """A mapping that fails where it is read."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    items = keys = values = __iter__ = __len__ = __getitem__ = get = _fail


class HostileList(list[Any]):
    """A list that fails where it is read."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __iter__ = __len__ = __getitem__ = __eq__ = _fail


class HostileInt(int):
    """A whole number that fails where it is looked at as an object."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __format__ = __int__ = __float__ = __index__ = __lt__ = __le__ = __gt__ = __ge__ = _fail
    __eq__ = __hash__ = __bool__ = __neg__ = __add__ = __radd__ = _fail


class HostileFloat(float):
    """A number that fails where it is looked at as an object."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __format__ = __int__ = __float__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = _fail
    __hash__ = __bool__ = __neg__ = __add__ = __radd__ = _fail


class Unbound:
    """A stand-in for something that is not there, as web frameworks have: even its class cannot be told."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("hostile")


class HostileZone(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Fails."""
        raise RuntimeError("hostile")
