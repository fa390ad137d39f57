"""The endpoint in the process of an app: the app's event loop goes on, and so do the app's own spans."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import SpanProcessor

from spanback._telemetry import TELEMETRY
from tests.web.clients import KINDS, feedback_app, request
from tests.web.conftest import KEY, REF

UP = {"score": 1, "name": "user_thumbs"}


class Gate:
    """What takes until the event loop has gone on."""

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.waited: list[bool] = []

    def use(self, _token_id: str, _expires_in_s: int) -> int:
        """Waits; a counter of uses."""
        self.waited.append(self.passed.wait(5))
        return 1

    def wait(self, *_: Any) -> Any:
        """Waits; anything else."""
        return [] if self.use("", 0) else None


class Slow(SpanProcessor):
    """An exporter that takes its time."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def on_end(self, span: Any) -> None:
        """Waits."""
        self._gate.wait(span)


@pytest.mark.parametrize("waits_for", ["uses", "rates", "disk", "disk, a batch", "disk, a withdrawal", "first signal"])
def test_the_event_loop_goes_on(waits_for, telemetry, monkeypatch):
    """While the endpoint waits for another machine, for the disk, or for the SDK that its first signal sets up."""
    gate = Gate()
    token = REF.token(keys=[KEY], max_uses=9)
    app = feedback_app(
        "asgi",
        keys=[KEY],
        uses=gate if waits_for == "uses" else None,
        rate_store="memory://" if waits_for == "rates" else None,
    )
    if waits_for == "first signal":
        telemetry.tracer_provider.add_span_processor(Slow(gate))
    else:
        monkeypatch.setattr(app, "_usual_s", 0.0)  # as after many signals that took no time
    if waits_for == "rates":
        monkeypatch.setattr(app._endpoint._rates, "count_address", gate.wait)
    if waits_for.startswith("disk"):
        monkeypatch.setattr(type(TELEMETRY), "spool", object())
        monkeypatch.setattr(app._endpoint._signals, "record", gate.wait)
        monkeypatch.setattr(app._endpoint._signals, "retract", gate.wait)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            headers = {"authorization": f"Bearer {token}"}
            if waits_for.endswith("withdrawal"):
                await client.delete("/a", headers=headers)
            elif waits_for.endswith("batch"):
                await client.post("/batch", json={"signals": [UP, UP]}, headers=headers)
            elif waits_for == "disk":
                with pytest.raises(ValueError, match="not enough values"):  # the gate gives no receipt
                    await client.post("/", json=UP, headers=headers)
            else:
                assert (await client.post("/", json=UP, headers=headers)).status_code == 202

    async def both() -> None:
        asking = asyncio.create_task(ask())
        while not gate.waited and not asking.done():
            await asyncio.sleep(0.01)
            gate.passed.set()
        await asking

    asyncio.run(both())
    assert gate.waited == [True]


@pytest.mark.parametrize("kind", KINDS)
def test_the_spans_of_the_app_are_as_without_the_endpoint(kind, telemetry):
    """Those around a request and those of the app's own functions inside; the endpoint adds one that is no part."""
    tracer = telemetry.tracer_provider.get_tracer("app")

    def user_of(_given: Any) -> str:
        with tracer.start_as_current_span("who is it?"):
            return "anna"

    feedback = feedback_app(kind, keys=[KEY], user_of=user_of)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        with tracer.start_as_current_span("POST /feedback"):
            await feedback(scope, receive, send)

    def wsgi(environ: Any, start_response: Any) -> Any:
        with tracer.start_as_current_span("POST /feedback"):
            return feedback(environ, start_response)

    token = REF.token(keys=[KEY], user_id="anna")
    app = asgi if kind == "asgi" else wsgi
    for path, signal in (("/", UP), ("/batch", {"signals": [UP]})):
        answer = request(app, kind, "POST", path, json=signal, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 202, answer.text
    first, second = telemetry.spans[:3], telemetry.spans[3:]
    for spans in (first, second):
        by_name = {span.name: span for span in spans}
        around = by_name["POST /feedback"]
        assert by_name.keys() == {"POST /feedback", "who is it?", "feedback user_thumbs"}
        assert by_name["who is it?"].parent.span_id == around.context.span_id
        assert by_name["feedback user_thumbs"].context.trace_id != around.context.trace_id
        assert around.parent is None
        assert dict(around.attributes) == {}
    told = "".join(span.to_json() for span in telemetry.spans)
    assert [part for part in token.split(".") if part in told] == []
