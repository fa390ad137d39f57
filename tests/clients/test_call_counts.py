"""What spanback adds to a call of each client in each style, in Python functions entered: exact, so it can be a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest
from benchmarks.inside import InsideServer, call_of, settled
from benchmarks.measure import CallCounter
from benchmarks.scenarios import Providers, Telemetry, providers_for

import spanback
from tests.clients.cases import ClientCase, Style
from tests.clients.test_matrix import CASES

WARM_UP_CALLS: Final = 5
CALLS: Final = 4
SOME_CHUNKS: Final = 40
MORE_CHUNKS: Final = 90
MOST: Final[dict[Telemetry, int]] = {"spans": 240, "content": 290, "none": 25}
MOST_ADOPTED: Final = 120
MOST_WHERE: Final[dict[tuple[str, str], tuple[int, int]]] = {
    # What nobody parses is parsed for the span when it is dropped, by the client's own functions.
    ("anthropic", "messages.create raw, unread"): (640, 690),
    # The body is bytes that only the app parses: they are kept as it reads them, and parsed for the span.
    ("bedrock", "invoke_model"): (265, 355),
    ("litellm", "text_completion"): (255, 320),
    ("together", "chat.completions.create streaming response"): (240, 295),
}
"""Where a whole response may enter more functions: with spans, and with content."""
MOST_A_CHUNK: Final = 2.0
"""One to pass a chunk on, and some at every sixteenth."""
LATE: Final = ("google-genai", "ollama")
"""Their streams are generators whose first step makes the call, so that ours stands in their place in any case."""
STEADY: Final = [
    (case, style)
    for number, (case, style) in enumerate(CASES)
    if not style.is_async
    and not any(
        one is case and not other.is_async and other.is_stream == style.is_stream for one, other in CASES[:number]
    )
]
"""The first style of each client that is sync, whole and streamed: to count takes a second for each."""
over_steady = pytest.mark.parametrize(
    ("case", "style"), STEADY, ids=[f"{case.client}-{style.name}" for case, style in STEADY]
)


class Bench:
    """The clients, answered inside the process, and the telemetry of an app that sends its spans in batches."""

    def __init__(self, server: InsideServer) -> None:
        self.server = server
        self.providers: dict[Telemetry, Providers] = {name: providers_for(name) for name in MOST}
        self.clients: list[Any] = []

    def connect(self, case: ClientCase, style: Style, **options: Any) -> Any:
        """A client for a style."""
        self.server.speak(case.answers)
        self.clients.append(case.connect(self.server, style.is_async, **options))
        return self.clients[-1]

    async def added(self, call: Callable[[], Any], *kinds: Telemetry) -> dict[Telemetry, int]:
        """How many functions a call enters more with spanback than without."""
        bare = await counted(call)
        found: dict[Telemetry, int] = {}
        for kind in kinds:
            spanback.instrument(
                tracer_provider=self.providers[kind].tracer_provider,
                meter_provider=self.providers[kind].meter_provider,
                capture_content="span_only" if kind == "content" else False,
                set_up=False,
            )
            try:
                found[kind] = await counted(call) - bare
            finally:
                spanback.uninstrument()
        return found


async def counted(call: Callable[[], Any]) -> int:
    """How many functions a call enters once it is warm; the fewest, for some clients hand work to threads."""
    for _ in range(WARM_UP_CALLS):
        await settled(call())
    found: list[int] = []
    for _ in range(CALLS):
        with CallCounter() as counter:
            await settled(call())
        found.append(counter.calls)
    return min(found)


def limit_of(limits: dict[tuple[str, str], Any], case: ClientCase, style: Style, otherwise: Any) -> Any:
    """The limit of the longest begin of a style's name."""
    fitting = [key for key in limits if key[0] == case.client and style.name.startswith(key[1])]
    return limits[max(fitting, key=lambda key: len(key[1]))] if fitting else otherwise


@pytest.fixture(scope="module")
def server() -> Iterator[InsideServer]:
    """The server that needs no socket."""
    with InsideServer().answering() as inside:
        yield inside


@pytest.fixture(scope="module")
def shared(server: InsideServer) -> Iterator[Bench]:
    """The one bench of this file."""
    made = Bench(server)
    yield made
    for providers in made.providers.values():
        if providers.tracer_provider is not None:
            providers.tracer_provider.shutdown()


@pytest.fixture
async def counting(shared: Bench) -> AsyncIterator[Bench]:
    """The bench, whose clients are closed afterwards."""
    yield shared
    shared.server.more_pieces = 0
    for client in shared.clients:
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is not None:
            await settled(close())
    shared.clients.clear()


def traced_anthropic(counting: Bench) -> Callable[[], Any]:
    """A call of Anthropic's client that makes its own span."""
    case = pytest.importorskip("tests.clients.anthropic")
    if not case.TRACES_ITSELF:
        pytest.skip("this release of anthropic makes no spans of its own")
    style = next(style for style in case.CASE.styles if style.name == "messages.create")
    given = {"tracer_provider": counting.providers["spans"].tracer_provider}
    return call_of(style, counting.connect(case.CASE, style, open_telemetry=given))


def traced_mistral(counting: Bench) -> Callable[[], Any]:
    """A call of Mistral's client that makes its own span."""
    case = pytest.importorskip("tests.clients.mistralai").CASE
    telemetry = pytest.importorskip("mistralai.extra.observability.telemetry")
    style = next(style for style in case.styles if style.name == "chat.complete")
    client = counting.connect(case, style)
    telemetry.configure_telemetry(client, counting.providers["spans"].tracer_provider, redaction=False)
    return call_of(style, client)


@pytest.mark.parametrize("traced", [traced_anthropic, traced_mistral])
async def test_calls_added_by_adopting(traced: Callable[[Bench], Callable[[], Any]], counting: Bench) -> None:
    """To adopt the client's own span takes no more than to make one."""
    added = await counting.added(traced(counting), "spans")
    assert 0 < added["spans"] <= MOST_ADOPTED


@over_steady
async def test_calls_added(case: ClientCase, style: Style, counting: Bench) -> None:
    """A call enters no more Python functions than the limit, and at least some, so it is spanback that was counted."""
    call = call_of(style, counting.connect(case, style))
    if not style.is_stream:
        added = await counting.added(call, "spans", "content", "none")
        spans, content = limit_of(MOST_WHERE, case, style, (MOST["spans"], MOST["content"]))
        assert 0 < added["none"] <= MOST["none"]
        assert 0 < added["spans"] <= spans
        assert 0 < added["content"] <= content
        return
    counting.server.more_pieces = SOME_CHUNKS  # the first and the last few of a stream are read more closely
    short = await counting.added(call, "spans", "none")
    counting.server.more_pieces = SOME_CHUNKS + MORE_CHUNKS
    long = await counting.added(call, "spans", "none")
    passed_on = (case.client in LATE) * SOME_CHUNKS
    assert 0 < short["none"] - passed_on <= MOST["none"]
    assert 0 < long["spans"] - short["spans"] <= MOST_A_CHUNK * MORE_CHUNKS
    assert long["none"] - short["none"] <= (case.client in LATE) * MORE_CHUNKS
