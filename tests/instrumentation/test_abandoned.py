"""A stream that the app leaves before its end may be a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import spanback
from spanback import signals
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.test_streams import STREAM


def abandoned(memory: Memory) -> list[tuple[Any, ...]]:
    """Name, score, type and rated span of each signal, and whether its response is known."""
    assert spanback.flush(60.0)
    found = [span for span in memory.spans if span.name.startswith("feedback ")]
    keys = ("feedback.name", "feedback.score", "feedback.source", "feedback.type")
    rated = [span.links[0].context.span_id for span in found]
    known = [str((span.attributes or {}).get("gen_ai.response.id", "")).partition("-")[0] for span in found]
    calls = [span.get_span_context().span_id for span in memory.spans if span not in found]
    return [
        (*((span.attributes or {})[key] for key in keys), one in calls or not calls, response)
        for span, one, response in zip(found, rated, known, strict=True)
    ]


SIGNAL = ("abandoned", -0.5, "user", "implicit", True, "chatcmpl")


@driving.is_async
@pytest.mark.parametrize("how", ["closed", "dropped", "cancelled"])
async def test_a_stream_that_is_left_is_a_signal(
    how: str, is_async: bool, instrument: Callable[..., None], connect: Any, memory: Memory
) -> None:
    """Once on its response, however it was left; a user's behaviour, not a statement."""
    if how == "cancelled" and not is_async:
        pytest.skip("only tasks are cancelled")
    instrument(abandoned_streams=True)
    request = {**STREAM, "model": "slow-stream-60000"} if how == "cancelled" else STREAM
    stream = await driving.settled(connect(is_async=is_async).chat.completions.create(**request))
    await driving.read(stream, 1 if how == "cancelled" else 3)
    if how == "closed":
        await driving.settled(stream.close())
        await driving.settled(stream.close())
    elif how == "cancelled":
        task = asyncio.ensure_future(driving.read(stream))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    else:
        response = stream.response
        del stream
        gc.collect()
        await driving.settled(response.aclose() if is_async else response.close())
        await asyncio.sleep(0)
    assert abandoned(memory) == [SIGNAL]


async def test_a_stream_that_was_read_is_none(instrument: Callable[..., None], client: Any, memory: Memory) -> None:
    """Neither one that ended, nor one that was closed after its finish reason had come; nor any where it is not asked for."""
    instrument(abandoned_streams=True)
    stream = client.chat.completions.create(**STREAM)
    await driving.read(stream)
    stream.close()
    stream = client.chat.completions.create(**STREAM)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].finish_reason:
            break
    stream.close()
    assert abandoned(memory) == []
    spanback.instrument(abandoned_streams=False)
    with client.chat.completions.create(**STREAM) as stream:
        next(iter(stream))
    assert abandoned(memory) == []


async def test_a_stream_that_is_not_sampled_is_a_signal_too(instrument: Callable[..., None], client: Any) -> None:
    """Feedback is never sampled out; a stream of which nothing came has no response id."""
    memory = Memory(ALWAYS_OFF)
    instrument(abandoned_streams=True, **memory.providers)
    stream = client.chat.completions.create(**STREAM)
    next(iter(stream))
    stream.close()
    client.chat.completions.create(**STREAM).close()
    assert abandoned(memory) == [SIGNAL, (*SIGNAL[:-1], "")]


async def test_an_open_stream_may_be_rated(instrument: Callable[..., None], client: Any, memory: Memory) -> None:
    """From its first chunk on, by a user, also with the app's own request around; the signal is in its trace."""
    instrument()
    with memory.tracer_provider.get_tracer("app").start_as_current_span("POST /chat"):
        stream = client.chat.completions.create(**STREAM)
        chunk = next(iter(stream))
        receipts = [spanback.record_feedback(target, signals.THUMBS_UP) for target in (stream, chunk, chunk.id)]
        await driving.read(stream)
    (call,) = [span for span in memory.spans if span.name.startswith("chat")]
    for receipt in receipts:
        assert (receipt.status, receipt.placement) == ("recorded", "child")
        assert receipt.target is not None
        assert receipt.target.span_id == call.get_span_context().span_id


async def test_inside_of_the_call_nobody_is_a_user(
    instrument: Callable[..., None], connect: Any, memory: Memory
) -> None:
    """What runs within the client's own call, such as a hook of its HTTP library, is inside of the response's span."""
    problems: list[Any] = []

    def hook(_request: Any) -> None:
        try:
            spanback.record_feedback(signal=signals.THUMBS_UP)
        except spanback.InvalidFeedback as problem:
            problems.append(problem.field)

    instrument()
    client = connect(http_client=driving.openai.DefaultHttpxClient(verify=False, event_hooks={"request": [hook]}))
    client.chat.completions.create(**{**STREAM, "stream": False})
    assert problems == ["source"]
