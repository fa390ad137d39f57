"""A thousand signals on a thousand calls, from an app through the recommended pipeline to every backend.

`python -m tests.backends.end_to_end 10000` is the long form.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.backends.end_to_end import Backends, Given, gather, give, sums
from tests.backends.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

# One worker runs all of them: what they share takes half a minute.
pytestmark = [pytest.mark.backends, pytest.mark.xdist_group("end_to_end")]

COUNT = 1_000


@pytest.fixture(scope="module")
def backends(all_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    """A collector that feeds all backends."""
    pytest.importorskip("chdb")
    with Backends(tmp_path_factory.mktemp("backends")) as running:
        yield running


@pytest.fixture(scope="module")
def given(backends: Backends) -> Given:
    """What an app gave that samples a tenth of its calls."""
    return give(backends.collector, COUNT)


@pytest.mark.parametrize("sink", ["Jaeger", "Tempo", "files", "log files", "ClickHouse"])
def test_every_signal_is_in_every_backend(backends: Backends, given: Given, sink: str) -> None:
    """All signals are there, none twice, each with its score and weight and on the call that it was given on."""
    found = gather(backends.sinks()[sink], COUNT)
    assert Counter(found) == Counter(given.signals)
    assert sums(found) == pytest.approx(sums(given.signals), abs=1e-9)


def test_prometheus_has_the_same_means(backends: Backends, given: Given) -> None:
    """Prometheus has counted all signals, and their means are those of the signals."""
    found = eventually(lambda: found if (found := backends.in_prometheus()) and found.count >= COUNT else None)
    assert found == pytest.approx(sums(given.signals), abs=1e-9)


def test_links_in_tempo_lead_to_the_call(backends: Backends, given: Given) -> None:
    """Tempo's carriers link to the calls, where the search shows attributes alone."""
    gather(backends.in_tempo, COUNT)
    for signal in given.signals[:: COUNT // 20]:
        query = f'{{ span.feedback.id = "{signal.feedback_id}" }}'
        (match,) = backends.tempo.search(query)
        (carrier,) = (span for span in backends.tempo.trace(match.trace_id) if span.span_id == match.span_id)
        assert [(link.trace_id, link.span_id) for link in carrier.links] == [(signal.trace_id, signal.span_id)]


@pytest.mark.parametrize("backend", ["Jaeger", "Tempo", "files", "ClickHouse"])
def test_traces_with_quick_bad_feedback_are_kept(backends: Backends, given: Given, backend: str) -> None:
    """Of the sampled calls, all with quick bad feedback are kept, and few of the others, of which 1 % should be."""
    assert 0 < len(given.must_keep) < len(given.sampled) < COUNT / 5
    kept = eventually(lambda: kept if given.must_keep <= (kept := backends.calls()[backend]) else None, timeout_s=30)
    assert kept <= given.sampled
    assert len(kept - given.must_keep) <= 8
