"""Replays recorded exchanges with real providers through the real clients, and compares the spans that they give.

python -m tests.wire.replay                     all packages
python -m tests.wire.replay --package openai    one of them
python -m tests.wire.replay --list              every exchange with what came of it
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, unquote

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

import spanback
from spanback._spanref import RESPONSES
from tests.clients.wire import WireAnswer, WireServer
from tests.conftest import Memory
from tests.wire.calls import make_call
from tests.wire.expected import COMPARED, Expected, reader_of
from tests.wire.recordings import PACKAGES, Package, Recording, RecordingsUnavailableError, recordings

REPLAYED, FAILED, UNPARSABLE, NO_CALL, NO_MODEL = KINDS = "replayed", "failed", "unparsable", "no call", "no model"
_DISTRIBUTIONS = {"bedrock": "boto3"}
# The newest client of Anthropic's says it in a header instead; older ones of Google's do not say what holds anyway.
_NOT_OF_THE_CALL = {"beta": ["true"], "stream": ["false"]}
_EXAMPLES = """examples:
  python -m tests.wire.replay
  python -m tests.wire.replay --package openai
  python -m tests.wire.replay --package bedrock --list

The exchanges are downloaded once, with pip, into the cache folder that the backends are built in:
$SPANBACK_CACHE, $XDG_CACHE_HOME/spanback or ~/.cache/spanback.
Exits with 1 when a span is wrong or when too few exchanges could be replayed."""


@dataclass(frozen=True)
class Outcome:
    """What came of one exchange.

    Attributes:
        recording: The exchange.
        kind: `replayed` with the right span; `failed`; `unparsable`: the installed client itself cannot read the
            answer; `no call`: it has no such call, or sends no request; `no model`: of an API that is none of a model's, which is not called.
        detail: What is wrong, or why it is not replayed.
    """

    recording: Recording
    kind: str
    detail: str = ""


class Replay:
    """A server that answers as recorded, and telemetry in memory."""

    def __init__(self, server: WireServer, memory: Memory) -> None:
        self._server = server
        self._memory = memory

    def run(self, client: str, recording: Recording) -> Outcome:
        """Replays one exchange."""
        read = reader_of(recording)
        if read is None:
            return Outcome(recording, NO_MODEL, f"{recording.url.netloc.partition('.')[0]} {recording.url.path}")
        self._server.speak(lambda _request: WireAnswer(recording.content, recording.status, recording.headers))
        self._memory.clear()
        RESPONSES.clear()
        with _instrumented(self._memory):
            error = self._call(client, recording)
        if error is not None and not self._server.requests:
            return Outcome(recording, self._blamed(NO_CALL, error, client, recording), _said(error))
        if error is not None and recording.status < 400:
            return Outcome(recording, self._blamed(UNPARSABLE, error, client, recording), _said(error))
        wanted = read(recording)
        if recording.status >= 400:
            if error is None:
                return Outcome(recording, FAILED, f"status {recording.status} raised nothing")
            wanted.setdefault("error.type", type(error).__qualname__)
        wrong = self._asked_otherwise(recording) or self._differences(wanted)
        return Outcome(recording, FAILED, wrong) if wrong else Outcome(recording, REPLAYED)

    def _blamed(self, kind: str, error: Exception, client: str, recording: Recording) -> str:
        """The kind where the client raises the same by itself; otherwise it is not the client that failed."""
        return kind if type(self._call(client, recording)) is type(error) else FAILED

    def _call(self, client: str, recording: Recording) -> Exception | None:
        try:
            make_call(client, self._server, recording)
        except Exception as error:  # noqa: BLE001 - whatever a client raises is what is looked at
            return error
        return None

    def _asked_otherwise(self, recording: Recording) -> str:
        """In what the request differs from the recorded one; an empty text where in nothing that matters."""
        requests = self._server.requests
        if len(requests) != 1:
            return f"{len(requests)} requests"
        (request,) = requests
        path, _, query = request.path.partition("?")
        if (request.method, unquote(path)) != (recording.method, unquote(recording.url.path)):
            return f"asked {request.method} {path}, recorded {recording.method} {recording.url.path}"
        asked, recorded = parse_qs(query), parse_qs(recording.url.query)
        if any(asked.get(key) != value != _NOT_OF_THE_CALL.get(key) for key, value in recorded.items()):
            return f"asked with {query}, recorded with {recording.url.query}"
        return ""

    def _differences(self, wanted: Expected) -> str:
        spans = self._memory.spans
        if len(spans) != 1:
            return f"{len(spans)} spans: {[span.name for span in spans]}"
        attributes: Any = spans[0].attributes
        got = {name: attributes[name] for name in COMPARED if name in attributes}
        name = f"{wanted['gen_ai.operation.name']} {wanted.get('gen_ai.request.model', '')}".strip()
        differing = [key for key in COMPARED if got.get(key) != wanted.get(key)]
        found = [f"{key} is {got.get(key)!r}, recorded {wanted.get(key)!r}" for key in differing]
        if spans[0].name != name:
            found.append(f"span is named {spans[0].name!r}, not {name!r}")
        if spans[0].status.is_ok == ("error.type" in wanted):
            found.append(f"span's status is {spans[0].status.status_code.name}")
        return "; ".join(found)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _instrumented(memory: Memory) -> Iterator[None]:
    spanback.instrument(**memory.providers, set_up=False)
    try:
        yield
    finally:
        spanback.uninstrument()


def too_few(package: Package, outcomes: list[Outcome]) -> str:
    """Says so when fewer exchanges were replayed than are to be; an empty text otherwise.

    Calls that an old client does not have are not missed, but of a third it must have them.
    """
    kinds = Counter(outcome.kind for outcome in outcomes)
    at_least = max(package.at_least - kinds[NO_CALL], package.at_least // 3)
    return f"{package.client}: {kinds[REPLAYED]} of {at_least} replayed" if kinds[REPLAYED] < at_least else ""


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.wire.replay",
        description="Replays recorded exchanges with real providers through the real clients, and compares the spans.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--package", choices=sorted(PACKAGES), help="only this client's exchanges")
    parser.add_argument("--list", action="store_true", help="name every exchange with what came of it")
    chosen = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    packages = [package for client, package in PACKAGES.items() if chosen.package in (None, client)]
    columns = [Column(name, no_wrap=True) for name in ("client", "version", "exchanges", *KINDS)]
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    trouble: list[str] = []
    with WireServer().running() as server, Progress(console=console, transient=True) as progress:
        replay = Replay(server, Memory())
        for package in packages:
            if not _is_installed(package.module):
                trouble.append(f"{package.client}: the client is not installed")
                continue
            try:
                outcomes = _run(replay, package, progress, with_all=chosen.list)
            except RecordingsUnavailableError as error:
                trouble.append(f"{package.client}: {error}")
                continue
            counts = Counter(outcome.kind for outcome in outcomes)
            release = version(_DISTRIBUTIONS.get(package.client, package.client))
            table.add_row(package.client, release, str(len(outcomes)), *(str(counts[kind]) for kind in KINDS))
            trouble += [f"{package.client}: {counts[FAILED]} failed"] if counts[FAILED] else []
            trouble += [said] if (said := too_few(package, outcomes)) else []
    console.print(table)
    for said in trouble:
        console.print(said, style="red", markup=False)
    return 1 if trouble else 0


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _run(replay: Replay, package: Package, progress: Progress, *, with_all: bool) -> list[Outcome]:
    task = progress.add_task(package.client, total=None)

    def say(outcome: Outcome) -> None:
        progress.advance(task)
        if with_all or outcome.kind != REPLAYED:
            said = f"{outcome.kind:10} {package.client} {outcome.recording.name} {outcome.detail}"
            progress.console.print(said.rstrip(), markup=False, style="red" if outcome.kind == FAILED else None)

    found = recordings(package)
    progress.update(task, total=len(found))
    outcomes: list[Outcome] = []
    for recording in found:
        outcomes.append(replay.run(package.client, recording))
        say(outcomes[-1])
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
