"""What InvokeModel answers, looked at while the app reads it.

The app's `StreamingBody` stays the object that it is, and what it wraps, too: until the body is read they have `read`
and `close` of their own in front of the class's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_MOST_BYTES: Final = 1 << 22
_ALL: Final = -1


class Reading:
    """One body that the app may read, at once or in pieces, or close, or drop.

    Args:
        body: A `StreamingBody` of botocore or aiobotocore.
        understand: Makes the response of the whole content; called once the app has read it all.

    Attributes:
        pending: Holds the response, as far as it is known.
    """

    def __init__(self, body: Any, understand: Callable[[bytes], Any]) -> None:
        self.pending: dict[str, Any] = {}
        self._body = body
        self._understand = understand
        self._watch: Any = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_inside = False
        self._is_over = False
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []
        length = str(getattr(body, "_content_length", ""))
        self._length = int(length) if length.isdigit() else None

    def begin(self, watch: Any) -> None:
        """Looks on from now, and tells the watch of the end. What is read goes to the app as it came."""
        self._watch = watch
        body = self._body
        if hasattr(body, "__aiter__"):
            self._replace(body, "read", self._async_reader(body.read))
            for name in ("close", "aclose"):
                if hasattr(body, name):
                    self._replace(body, name, self._closer(getattr(body, name), body))
            return
        self._replace(body, "read", self._reader(body.read, body))
        raw: Any = getattr(body, "_raw_stream", None)
        if hasattr(raw, "__dict__"):  # `with body as raw` gives it to the app
            self._replace(raw, "read", self._raw_reader(raw.read))
            self._replace(raw, "close", self._closer(raw.close, raw))
        else:
            self._replace(body, "close", self._closer(body.close, body))

    def _replace(self, thing: Any, name: str, function: Callable[..., Any]) -> None:
        setattr(thing, name, function)
        self._replaced.append((thing, name, function))

    def _reader(self, read: Callable[..., Any], body: Any) -> Callable[..., Any]:
        is_raw_seen = hasattr(getattr(body, "_raw_stream", None), "__dict__")

        def reading(*args: Any, **kwargs: Any) -> Any:
            self._is_inside = True
            try:
                data = read(*args, **kwargs)
            except BaseException as error:
                self._end(error)
                raise
            finally:
                self._is_inside = False
            if not is_raw_seen:
                self._take(data, args, kwargs)
            if self._is_over:
                self._end()
            return data

        return reading

    def _raw_reader(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*args: Any, **kwargs: Any) -> Any:
            data = read(*args, **kwargs)
            self._take(data, args, kwargs)
            if self._is_over and not self._is_inside:
                self._end()
            return data

        return reading

    def _async_reader(self, read: Callable[..., Any]) -> Callable[..., Any]:
        async def reading(*args: Any, **kwargs: Any) -> Any:
            try:
                data = await read(*args, **kwargs)
            except BaseException as error:
                self._end(error)
                raise
            self._take(data, args, kwargs)
            if self._is_over:
                self._end()
            return data

        return reading

    def _closer(self, close: Callable[..., Any], thing: Any) -> Callable[..., Any]:
        """A `close` that ends the call first. It is also what the garbage collector calls, which sets a mark."""

        def closing(*args: Any, **kwargs: Any) -> Any:
            if getattr(thing, "_finalizing", False):
                self._watch.abandon()
            else:
                self._give_back()
                self._watch.leave()
            return close(*args, **kwargs)

        return closing

    def _take(self, data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keeps a piece, and notes whether it was the last: all was asked for, nothing came, or the length is full."""
        if not isinstance(data, bytes):
            return
        asked = args[0] if args else next((kwargs[name] for name in ("amt", "size") if name in kwargs), None)
        amount = asked if isinstance(asked, int) else _ALL
        self._size += len(data)
        if self._size <= _MOST_BYTES:
            self._pieces.append(data)
        self._is_over = (
            amount < 0 or (not data and amount > 0) or (self._length is not None and self._size >= self._length)
        )

    def _end(self, error: BaseException | None = None) -> None:
        self._give_back()
        if error is None and self._size <= _MOST_BYTES:
            self.pending["body"] = self._understand(b"".join(self._pieces))
        self._pieces.clear()
        self._watch.end(error)

    def _give_back(self) -> None:
        """The classes' own methods serve again; also, what refers to itself is freed only by the garbage collector."""
        for thing, name, function in self._replaced:
            if getattr(thing, name, None) is function:
                delattr(thing, name)
        self._replaced.clear()
