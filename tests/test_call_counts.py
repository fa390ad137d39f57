"""What spanback adds to a call, in Python functions entered: exact, so unlike a time it can be a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import openai
import pytest
from benchmarks.measure import Runner, Variant
from benchmarks.scenarios import Providers, Scenario, Telemetry, calls_of, providers_for

import spanback


@pytest.fixture
def added_calls() -> Iterator[Callable[[str, Telemetry], int]]:
    """Counts what is added to a call of the real client, with spans going through a batch processor."""
    used: list[Providers] = []

    def count(kind: str, telemetry: Telemetry) -> int:
        if "responses" in kind and not hasattr(openai.OpenAI, "responses"):
            pytest.skip("this release of openai has no Responses API")
        scenario = Scenario("", kind, telemetry)
        providers = providers_for(telemetry)
        used.append(providers)
        call, _ = calls_of(scenario, providers)
        with Runner(is_async=scenario.is_async) as runner:
            bare = runner.count(Variant("bare", call))
            spanback.instrument(
                tracer_provider=providers.tracer_provider,
                meter_provider=providers.meter_provider,
                capture_content="span_only" if telemetry == "content" else False,
                set_up=False,
            )
            added = runner.count(Variant("spanback", call)) - bare
        spanback.uninstrument()
        return added

    yield count
    spanback.uninstrument()
    for providers in used:
        if providers.tracer_provider is not None:
            providers.tracer_provider.shutdown()


@pytest.mark.parametrize(
    ("kind", "telemetry", "most"),
    [
        ("chat", "spans", 240),
        ("async chat", "spans", 240),
        ("responses", "spans", 240),
        ("async responses", "spans", 240),
        ("chat", "content", 290),
        ("responses", "content", 290),
        ("chat", "unsampled", 100),
        ("chat", "none", 25),
        ("async chat", "none", 25),
        ("stream 200", "none", 25),
    ],
)
def test_calls_added(kind: str, telemetry: Telemetry, most: int, added_calls: Callable[[str, Telemetry], int]) -> None:
    """A call enters no more Python functions than the limit, and at least some, so it is spanback that was counted."""
    assert 0 < added_calls(kind, telemetry) <= most


# An async generator is entered twice for each chunk, by hand as well: once to be asked and once to be resumed.
@pytest.mark.parametrize(("kind", "most"), [("stream", 2), ("async stream", 3)])
def test_calls_added_per_chunk(kind: str, most: int, added_calls: Callable[[str, Telemetry], int]) -> None:
    """Each chunk of a stream enters no more Python functions than the limit."""
    short, long = (added_calls(f"{kind} {chunks}", "spans") for chunks in (10, 200))
    assert 0 < long - short <= most * 190
