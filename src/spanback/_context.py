"""What an app says about the model calls that it makes: prompt, conversation, user, tags, experiment."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from spanback._said import TAG_LIMIT, Entry, Said, entry_of, with_entry
from spanback.errors import InvalidContext

P = ParamSpec("P")
T = TypeVar("T")

TEXT_LIMIT_CHARACTERS: Final = 256
TAG_LIMIT_CHARACTERS: Final = 128

TEXT_RULE: Final = f"must be 1 to {TEXT_LIMIT_CHARACTERS} printable characters, not blank"
TAGS_RULE: Final = (
    f"must be at most {TAG_LIMIT} tags in a list, each of 1 to {TAG_LIMIT_CHARACTERS} printable characters, not blank"
)
VERSION_RULE: Final = "must be given together with prompt_name"
VARIANT_RULE: Final = "must be given together with experiment"
NOTHING_RULE: Final = "must be given, or one of the other arguments"

_NOTHING: Final = Context()


class Block:
    """What `context()` returns: a context manager, sync and async, and a decorator.

    It may be entered again while it is entered, also by other tasks and threads.
    """

    __slots__ = ("_said",)

    def __init__(self, said: Said) -> None:
        self._said = said

    def __enter__(self) -> None:
        before = otel_context.get_current()
        otel_context.attach(with_entry(before, Entry(self, self._said, entry_of(before), before)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # No token is given back: that fails where a generator is closed in another task than it was begun in.
        entry = entry_of(otel_context.get_current())
        while entry is not None and entry.owner is not self:
            entry = entry.outer
        if entry is not None and entry.before is not None:
            otel_context.attach(entry.before)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """A function, coroutine function or generator function of either kind, all of whose work is in the block.

        What runs between the steps of a generator is outside.
        """
        if inspect.isasyncgenfunction(function):
            around: Any = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            around = self._around_generator(function)
        elif inspect.iscoroutinefunction(function):
            around = self._around_coroutine(function)
        else:
            around = self._around(function)
        return cast("Callable[P, T]", functools.wraps(function)(around))

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return around

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def around(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return around

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inner: Generator[Any, Any, Any] = function(*args, **kwargs)
            step = _Step(self, self._said)
            resume: Callable[[], Any] = functools.partial(next, inner)
            while True:
                with step:
                    try:
                        value = resume()
                    except StopIteration as stop:
                        return stop.value
                try:
                    sent = yield value
                    resume = functools.partial(inner.send, sent)
                except GeneratorExit:
                    with step:
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - all of them are the inner generator's
                    resume = functools.partial(inner.throw, error)

        return around

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def around(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
            step = _Step(self, self._said)
            resume: Callable[[], Any] = functools.partial(anext, inner)
            while True:
                with step:
                    try:
                        value = await resume()
                    except StopAsyncIteration:
                        return
                try:
                    sent = yield value
                    resume = functools.partial(inner.asend, sent)
                except GeneratorExit:
                    with step:
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - as above
                    resume = functools.partial(inner.athrow, error)

        return around


class _Step:
    """One block that is entered for each step of a generator, and left in between."""

    def __init__(self, owner: Block, said: Said) -> None:
        self._entry: Entry | None = None
        self._owner = owner
        self._said = said
        self._before = _NOTHING

    def __enter__(self) -> None:
        before = self._before = otel_context.get_current()
        if self._entry is None:
            self._entry = Entry(self._owner, self._said, entry_of(before), None)
        otel_context.attach(with_entry(before, self._entry))

    def __exit__(self, *_: object) -> None:
        before, self._before = self._before, _NOTHING  # a generator that waits keeps no context alive
        otel_context.attach(before)


def context(
    *,
    prompt_name: str | None = None,
    prompt_version: str | None = None,
    conversation_id: str | None = None,
    user_id: str | None = None,
    tags: Iterable[str] | None = None,
    experiment: str | None = None,
    variant: str | None = None,
) -> Block:
    """Says what the model calls inside belong to; their spans say so, and so does all feedback on them.

        with spanback.context(prompt_name="greeting", prompt_version="7", user_id="anna"):
            response = client.chat.completions.create(...)

        @spanback.context(experiment="tone", variant="warm", tags=["beta"])
        async def answer(question): ...

    Blocks may be nested: tags of the inner one are added, all else replaces. Tasks have what was current where they
    were begun, and so have threads of `asyncio.to_thread`; threads of one's own have it by `contextvars.copy_context`.
    A block that is held over the `yield` of a generator holds for whoever reads it, too; the decorator does not.

    Args:
        prompt_name: The prompt template's name (`gen_ai.prompt.name`).
        prompt_version: Its version, given together with the name (`gen_ai.prompt.version`).
        conversation_id: The conversation (`gen_ai.conversation.id`). It goes before what a request itself says.
        user_id: Whose call it is. Only its HMAC is kept, as `user.hash`, and only where SPANBACK_USER_HASH_KEY is set.
            Feedback that is recorded inside is this user's unless it names another.
        tags: Any words to find the calls by (`spanback.tags`), at most 32.
        experiment: The experiment that the calls are part of (`feature_flag.key`).
        variant: Its variant, given together with the experiment (`feature_flag.result.variant`).

    Returns:
        A context manager, to be entered by `with` or `async with`, and a decorator of functions, coroutine functions
        and generators of both kinds.

    Raises:
        InvalidContext: An argument breaks its rule. Texts are 1 to 256 printable characters.
    """
    given = (prompt_name, prompt_version, conversation_id, user_id, tags, experiment, variant)
    if all(one is None for one in given):
        raise InvalidContext("prompt_name", None, NOTHING_RULE)
    if prompt_version is not None and prompt_name is None:
        raise InvalidContext("prompt_version", prompt_version, VERSION_RULE)
    if variant is not None and experiment is None:
        raise InvalidContext("variant", variant, VARIANT_RULE)
    return Block(
        Said(
            _line("prompt_name", prompt_name),
            _line("prompt_version", prompt_version),
            _line("conversation_id", conversation_id),
            _line("user_id", user_id),
            () if tags is None else _checked_tags(tags),
            _line("experiment", experiment),
            _line("variant", variant),
        )
    )


def _line(field: str, value: Any) -> str | None:
    if value is None:
        return None
    line = _plain(value, TEXT_LIMIT_CHARACTERS)
    if line is None:
        raise InvalidContext(field, value, TEXT_RULE)
    return line


def _plain(value: Any, limit_characters: int) -> str | None:
    line = str.__str__(value) if isinstance(value, str) else ""
    return line if len(line) <= limit_characters and line.isprintable() and line.strip() else None


def _checked_tags(tags: Any) -> tuple[str, ...]:
    given = tuple(cast("Iterable[Any]", tags)) if isinstance(tags, (list, tuple)) else None
    lines = [_plain(one, TAG_LIMIT_CHARACTERS) for one in given or ()]
    if given is None or len(lines) > TAG_LIMIT or None in lines:
        raise InvalidContext("tags", tags, TAGS_RULE)
    return tuple(dict.fromkeys(line for line in lines if line is not None))
