"""Backends and collectors that go away: what the collector has accepted of feedback, it delivers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

import spanback
from spanback import signals
from spanback.testing import fake_ref
from tests.backends.giving import app, post
from tests.backends.servers import Collector, Jaeger, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.backends


@pytest.fixture
def away(jaeger: Jaeger) -> Jaeger:
    """A Jaeger that was there, and is not now; entered again it is back at its address."""
    with Jaeger() as server:
        pass
    return server


def rate(server: Collector, service: str, count: int) -> list[str]:
    """Gives as many signals, which the collector takes; gives their ids."""
    with app(server, service):
        receipts = [spanback.record_feedback(fake_ref(), signals.SAVED, placement="linked") for _ in range(count)]
    return [receipt.feedback_id for receipt in receipts]


def in_jaeger(jaeger: Jaeger, service: str) -> list[str]:
    """The ids of the signals that a service has in Jaeger."""
    return [str(span.attributes["feedback.id"]) for span in jaeger.search(service, limit=5_000)]


def gather(jaeger: Jaeger, service: str, count: int) -> Counter[str]:
    """What Jaeger has, once it has as many signals."""
    return Counter(
        eventually(lambda: found if len(found := in_jaeger(jaeger, service)) >= count else None, 60, pause_s=0.5)
    )


def test_feedback_waits_for_the_backend_and_survives_the_collector(
    away: Jaeger, tmp_path: Path, start_collector: Callable[..., Collector]
) -> None:
    """What came while the backend refused connections is delivered, though the collector crashed and was restarted."""
    env = {"SPANBACK_TRACES_ENDPOINT": away.otlp_grpc_endpoint, "SPANBACK_COLLECTOR_FOLDER": str(tmp_path)}
    given: list[str] = []
    for end in (Collector.kill, Collector.stop, None):
        collector = start_collector(env=env)
        given += rate(collector, "waiting", 300)
        if end is not None:
            end(collector)
    with away as jaeger:
        assert gather(jaeger, "waiting", 900) == Counter(given)


def test_feedback_goes_on_when_the_backend_is_restarted(
    away: Jaeger, start_collector: Callable[..., Collector]
) -> None:
    """Signals that came before, while and after a backend was down are delivered, each once."""
    with away as jaeger:
        collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
        before = rate(collector, "restarted", 200)
        assert gather(jaeger, "restarted", 200) == Counter(before)
    while_down = rate(collector, "restarted", 200)
    with away as jaeger:
        after = rate(collector, "restarted", 200)
        assert gather(jaeger, "restarted", 400) == Counter(while_down + after)


def test_a_full_queue_refuses_and_keeps_what_it_accepted(
    away: Jaeger, start_collector: Callable[..., Collector]
) -> None:
    """When the queue is full the sender is told to come again later; all that was accepted is delivered."""
    env = {"SPANBACK_TRACES_ENDPOINT": away.otlp_grpc_endpoint, "SPANBACK_QUEUE_SIZE": "20"}
    collector = start_collector(env=env)
    answers = {f"{number:016x}": post(collector, f"{number:016x}") for number in range(1, 101)}
    accepted = {span_id for span_id, status in answers.items() if status == 200}
    assert Counter(answers.values()).keys() == {200, 503}
    assert 20 <= len(accepted) < 100
    with away as jaeger:
        found = gather(jaeger, "full", len(accepted))
        assert {span_id: found[span_id] for span_id in accepted} == dict.fromkeys(accepted, 1)
        assert found.keys() == accepted
