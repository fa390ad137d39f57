"""What an app says of its calls: where it holds, what replaces what, and what is refused."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import spanback
from spanback import InvalidContext
from spanback._context import TAGS_RULE, TEXT_RULE, VARIANT_RULE, VERSION_RULE
from spanback._said import Entry, Said, entry_of
from spanback.instrumentation._annotate import DOCUMENTS_RULE
from spanback.testing import InMemoryTelemetry, capture


def now() -> Said:
    """What holds now."""
    entry = entry_of(otel_context.get_current())
    return Said() if entry is None else entry.said


def ids() -> list[str]:
    """The documents that hold now."""
    entry = entry_of(otel_context.get_current())
    return [] if entry is None else [one.id for one in entry.documents]


@pytest.fixture(autouse=True)
def nothing_holds() -> Iterator[None]:
    """Nothing is said before a test, nor after it."""
    assert now() == Said()
    yield
    assert now() == Said()


def test_blocks_are_nested() -> None:
    """Tags add up, all else replaces; a version and a variant go with what they belong to."""
    with spanback.context(
        prompt_name="p", prompt_version="1", experiment="e", variant="a", tags=["x", "y"], user_id="u"
    ):
        with spanback.context(prompt_name="q", tags=("y", "z"), conversation_id="c"):
            assert now() == Said("q", None, "c", "u", ("x", "y", "z"), "e", "a")
            with spanback.context(experiment="f", user_id="v"):
                assert now() == Said("q", None, "c", "v", ("x", "y", "z"), "f", None)
        assert now() == Said("p", "1", None, "u", ("x", "y"), "e", "a")


def test_the_last_tags_are_kept() -> None:
    """However deep blocks are nested, a span has no more tags than the limit."""
    with spanback.context(tags=[f"a{number}" for number in range(32)]), spanback.context(tags=["b"]):
        assert now().tags == (*(f"a{number}" for number in range(1, 32)), "b")


def test_one_block_may_be_entered_many_times() -> None:
    """A block keeps nothing of its own, so that it may be a constant of a module."""
    block = spanback.context(tags=["x"])
    with block, block:
        assert now().tags == ("x",)
    with block:
        assert now().tags == ("x",)


async def test_tasks_take_over_what_holds_and_keep_their_own() -> None:
    """A task has what was said where it was begun, and what it says itself is not seen around it."""

    async def inner(name: str) -> tuple[str | None, str | None]:
        async with spanback.context(conversation_id=name):
            await asyncio.sleep(0)
            return now().user_id, now().conversation_id

    with spanback.context(user_id="u"):
        assert await asyncio.gather(inner("a"), inner("b")) == [("u", "a"), ("u", "b")]
        assert now().conversation_id is None
        assert (await asyncio.to_thread(now)).user_id == "u"


def test_threads_have_it_by_a_copied_context() -> None:
    """A thread of the app's own begins with nothing, unless the context is copied into it."""
    found: list[str | None] = []
    with spanback.context(user_id="u"):
        copied = contextvars.copy_context()
        for target in (lambda: found.append(now().user_id), lambda: copied.run(lambda: found.append(now().user_id))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert found == [None, "u"]


async def test_functions_of_every_kind_are_decorated() -> None:
    """Each is of the same kind as before, and has its block inside alone."""
    said = spanback.context(tags=["x"])

    @said
    def plain(number: int) -> tuple[int, tuple[str, ...]]:
        """A docstring."""
        return number, now().tags

    @said
    async def coroutine(number: int) -> tuple[int, tuple[str, ...]]:
        await asyncio.sleep(0)
        return number, now().tags

    assert (plain.__name__, plain.__doc__, plain(1)) == ("plain", "A docstring.", (1, ("x",)))
    assert inspect.iscoroutinefunction(coroutine)
    assert await coroutine(2) == (2, ("x",))


def test_a_generator_has_it_only_while_it_runs() -> None:
    """Values, exceptions, the end and what is returned pass through; what reads it is outside."""
    seen: list[Any] = []

    @spanback.context(tags=["x"])
    def steps() -> Any:
        try:
            seen.append((now().tags, (yield 1)))
            spanback.annotate_context(documents=["d"])
            try:
                yield 2
            except KeyError:
                seen.append((now().tags, ids()))
            yield 3
        finally:
            seen.append(now().tags)
        return "done"

    assert inspect.isgeneratorfunction(steps)
    generator = steps()
    assert next(generator) == 1
    assert now().tags == ()
    assert generator.send("sent") == 2
    assert generator.throw(KeyError()) == 3
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "done"
    closed = steps()
    next(closed)
    closed.close()
    assert seen == [(("x",), "sent"), (("x",), ["d"]), ("x",), ("x",)]


async def test_an_async_generator_has_it_only_while_it_runs() -> None:
    """As a sync one, also where another task closes it."""
    seen: list[Any] = []

    @spanback.context(tags=["x"])
    async def steps() -> AsyncIterator[Any]:
        try:
            seen.append((now().tags, (yield 1)))
            try:
                yield 2
            except KeyError:
                await asyncio.sleep(0)
                seen.append(now().tags)
            yield 3
        finally:
            seen.append(now().tags)

    assert inspect.isasyncgenfunction(steps)
    generator: Any = steps()
    assert await anext(generator) == 1
    assert now().tags == ()
    assert await generator.asend("sent") == 2
    assert await generator.athrow(KeyError()) == 3
    assert [one async for one in generator] == []
    closed: Any = steps()
    await anext(closed)
    await asyncio.create_task(closed.aclose())
    assert seen == [(("x",), "sent"), ("x",), ("x",), ("x",)]


async def test_a_block_may_be_left_in_another_task(caplog: pytest.LogCaptureFixture) -> None:
    """A generator that a server closes from another task leaves its block there without a word."""

    async def steps() -> AsyncIterator[int]:
        with spanback.context(tags=["x"]):
            yield 1

    generator: Any = steps()
    assert await asyncio.create_task(anext(generator)) == 1
    await asyncio.create_task(generator.aclose())
    assert caplog.records == []


def test_what_is_left_open_inside_ends_with_the_block() -> None:
    """A block that was entered and never left holds no longer than the one around it."""
    with spanback.context(tags=["x"]):
        spanback.context(tags=["y"]).__enter__()
        assert now().tags == ("x", "y")


def test_other_values_of_the_context_are_kept() -> None:
    """Spans and baggage that are current stay so."""
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))
    with trace.use_span(span), spanback.context(tags=["x"]):
        assert trace.get_current_span() is span


LONG = "x" * 257


@pytest.mark.parametrize(
    ("arguments", "field", "rule"),
    [
        *[({field: bad}, field, TEXT_RULE) for field in ("prompt_name", "conversation_id", "user_id", "experiment") for bad in ("", " ", 7, LONG, "a\n", "\ud83d", b"x")],
        ({"prompt_name": "p", "prompt_version": 7}, "prompt_version", TEXT_RULE),
        ({"experiment": "e", "variant": ""}, "variant", TEXT_RULE),
        ({"prompt_version": "1"}, "prompt_version", VERSION_RULE),
        ({"variant": "a"}, "variant", VARIANT_RULE),
        *[({"tags": bad}, "tags", TAGS_RULE) for bad in ("x", ["x"] * 33, [""], ["x" * 129], [7], {"x"}, 7)],
        ({}, "prompt_name", "must be given, or one of the other arguments"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: dict[str, Any], field: str, rule: str) -> None:
    """The error names the argument, its value and its rule."""
    with pytest.raises(InvalidContext) as refusal:
        spanback.context(**arguments)
    error = refusal.value
    assert (error.field, error.value, error.rule) == (field, arguments.get(field), rule)
    assert isinstance(error, ValueError)
    assert isinstance(error, spanback.SpanbackError)


class Failing(dict[str, Any]):
    """A mapping that cannot be read."""

    def get(self, *_: Any) -> Any:
        """Fails."""
        raise RuntimeError


@pytest.mark.parametrize(
    "documents",
    ["kb-7", None, [None], [""], [" "], ["x" * 257], [True], [1.5], [{}], [{"id": None}], [{"id": "a", "score": "b"}],
     [{"id": "a", "score": True}], [{"id": "a", "score": float("nan")}], [{"id": "a", "content": 7}], ["a"] * 101,
     [Failing()]],
)  # fmt: skip
def test_documents_that_are_refused(documents: Any) -> None:
    """Each document is an id or a mapping with one, also where nothing would be noted."""
    with pytest.raises(InvalidContext) as refusal:
        spanback.annotate_context(documents=documents)
    assert (refusal.value.field, refusal.value.value, refusal.value.rule) == ("documents", documents, DOCUMENTS_RULE)


def test_documents_hold_in_their_block_and_inside_of_it() -> None:
    """What is noted inside is not seen around; a task that was begun in the block notes for all of it."""
    assert spanback.annotate_context(documents=["a"]) is False
    with spanback.context(tags=["x"]):
        assert spanback.annotate_context(documents=["a", {"id": 7, "score": 1}]) is True
        with spanback.context(tags=["y"]):
            spanback.annotate_context(documents=[{"id": "a", "content": "new"}, "b"])
            assert ids() == ["a", "7", "b"]
            entry = entry_of(otel_context.get_current())
            assert entry is not None
            assert entry.documents[0].content == "new"
        copied = contextvars.copy_context()
        copied.run(spanback.annotate_context, documents=["c"])
        assert ids() == ["a", "7", "c"]
        spanback.annotate_context(documents=[f"d{number}" for number in range(100)])
        assert len(ids()) == 100
        assert "a" not in ids()


def test_blocks_may_be_nested_as_deep_as_an_agent_calls_itself() -> None:
    """Documents of all of them hold, the last of them, in order."""
    depth = sys.getrecursionlimit() + 100
    with ExitStack() as stack:
        for number in range(depth):
            stack.enter_context(spanback.context(user_id="u"))
            spanback.annotate_context(documents=[f"d-{number}"])
        assert ids() == [f"d-{number}" for number in range(depth - 100, depth)]


def test_a_call_that_is_traced_by_hand_gets_them(telemetry: InMemoryTelemetry) -> None:
    """While its span is the current one; other spans are left alone."""
    tracer = telemetry.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("request"):
        assert spanback.annotate_context(documents=["a"]) is False
        with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}):
            assert spanback.annotate_context(documents=["a"]) is True
            with spanback.context(tags=["x"]):
                assert spanback.annotate_context(documents=["b"]) is True
    call, request = telemetry.spans
    assert dict(call.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.retrieval.documents": '[{"id":"b"}]',
        "spanback.tags": ("x",),
    }
    assert dict(request.attributes or {}) == {}


@pytest.fixture
def telemetry() -> Iterator[InMemoryTelemetry]:
    """Providers that keep what they get."""
    with capture() as kept:
        yield kept


def test_the_hash_of_a_user_is_made_once() -> None:
    """It changes with the key, and without one there is none."""
    entry = Entry(None, Said(user_id="anna"), None, None)
    assert "user.hash" not in entry.attributes(None)
    first, again, other = (entry.attributes(key)["user.hash"] for key in (b"one", b"one", b"two"))
    assert first is again
    assert first != other
    assert "anna" not in first
