"""The chat of `spanback demo --web`, without a browser."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
import webbrowser

import pytest

import spanback
from spanback.cli import _demo_web, main
from tests.backends.servers import eventually
from tests.browser.chat import Chat

uvicorn = pytest.importorskip("uvicorn")
chat_app = pytest.importorskip("spanback.demo.chat._app")
LiveTelemetry = pytest.importorskip("spanback.demo.chat._live").LiveTelemetry


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """The demo, as a user starts it."""
    folder = tmp_path_factory.mktemp("chat")
    env = {"BROWSER": f"sh -c 'echo %s > {folder}/opened' &"}
    with Chat(folder / "out", env, is_opened=True) as running:
        yield running
    assert (running.code, running.error) == (0, "")
    assert (folder / "opened").read_text() == f"{running.url}\n"


def events(chat: Chat, **question: object) -> list[tuple[str, object]]:
    """The events of an answer."""
    request = urllib.request.Request(
        f"{chat.url}chat", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        blocks = response.read().decode().split("\n\n")[:-1]
    lines = [block.splitlines() for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in lines]


def turn(content: str, role: str = "user") -> dict[str, str]:
    """One message."""
    return {"role": role, "content": content}


def test_an_answer_begins_with_who_may_rate_it(chat):
    """The first event holds a token for the span; then come the pieces of the text, and an end."""
    given = events(chat, turns=[turn("Hello"), turn("Hello!", "assistant"), turn("Plan two days in Lisbon.")])
    (first, handle), *pieces, last = given
    assert first == "feedback"
    assert set(handle) == {"token", "url", "expires_at", "traceparent", "conversation_id"}
    assert handle["token"].count(".") == 2
    assert "".join(text for name, text in pieces if name == "text").startswith("Two days in Lisbon")
    assert last == ("done", None)


def test_another_attempt_gets_another_answer(chat):
    """The scripted model says something else to another seed, and knows the conversation by its id."""
    given = events(chat, turns=[turn("When should I visit Kyoto?")], attempt=1, conversation_id="conv_1")
    assert given[0][1]["conversation_id"] == "conv_1"
    assert "".join(text for name, text in given if name == "text").startswith("Late November")


def test_a_failed_call_is_told(chat):
    """An error of the model is an event of its own."""
    ((name, text),) = events(chat, turns=[turn("Which trips are left for Easter?")])
    assert (name, text[:25]) == ("error", "The model gave no answer:")


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"turns": []},
        {"turns": [turn("x", "system")]},
        {"turns": [turn("x" * 4_001)]},
        {"turns": [turn("x")], "conversation_id": "a b"},
        {"turns": [turn("x")], "prompt_version": "3"},
        {"turns": [turn("x")], "attempt": -1},
    ],
)
def test_what_is_no_question_is_refused(chat, question):
    """The page's own fields are checked."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        events(chat, **question)
    with refused.value:
        assert refused.value.code == 422


def test_the_page_runs_only_its_own_scripts(chat):
    """A policy keeps everything else away, also from what a model says."""
    with urllib.request.urlopen(chat.url, timeout=20) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
        page = response.read().decode()
    assert "<script>" not in page
    assert "style=" not in page
    for path in ("static/chat.js", "static/chat.css", "static/icon.svg", "feedback/feedback.js"):
        with urllib.request.urlopen(chat.url + path, timeout=20) as response:
            assert response.status == 200


def test_the_panel_is_told_of_each_signal(chat):
    """The stream says what the telemetry says now, and says it anew when there is more."""
    handle = events(chat, turns=[turn("How long does a refund take?")])[0][1]
    span_id = handle["traceparent"].split("-")[2]
    with urllib.request.urlopen(f"{chat.url}telemetry", timeout=20) as stream:

        def signals() -> list[str] | None:
            told = json.loads(stream.readline().removeprefix(b"data: "))
            assert stream.readline() == b"\n"
            found = [call for call in told["calls"] if call["span_id"] == span_id]
            return [signal["name"] for signal in found[0]["feedback"]] if found else None

        assert eventually(lambda: signals() == [])
        body = json.dumps({"score": 1, "name": "user_thumbs", "token": handle["token"]}).encode()
        request = urllib.request.Request(f"{chat.url}feedback/", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.status == 202
        assert eventually(lambda: signals() == ["user_thumbs"])


def test_a_port_that_is_taken_is_no_matter(chat, tmp_path):
    """Another free port is taken instead."""
    from spanback.demo.chat._serve import listening

    with socket.create_server(("127.0.0.1", 0)) as taken, listening(taken.getsockname()[1]) as other:
        assert other.getsockname()[1] != taken.getsockname()[1]


class Windowed(webbrowser.BaseBrowser):
    """A browser with windows."""

    opened = ""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        """Notes the page."""
        self.opened = url
        return True


def test_the_page_is_opened_where_there_is_a_browser_with_windows(monkeypatch):
    """A browser of the terminal is left alone, and none at all is no error."""
    browser = Windowed()
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    _demo_web.open_page("http://127.0.0.1:1/")
    assert browser.opened == "http://127.0.0.1:1/"

    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("false"))
    _demo_web.open_page("http://127.0.0.1:1/")

    def none() -> None:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    _demo_web.open_page("http://127.0.0.1:1/")


def test_an_open_panel_does_not_hold_up_the_end(tmp_path):
    """The demo ends at once, also while somebody looks at the panel; and it says where the telemetry is."""
    with Chat(tmp_path / "out") as running:
        stream = urllib.request.urlopen(f"{running.url}telemetry", timeout=20)
        assert json.loads(stream.readline().removeprefix(b"data: "))["calls"] == []
    stream.close()
    assert (running.code, running.error) == (0, "")
    assert f"spanback show {running.folder}" in running.output


def test_an_interrupted_server_leaves_its_telemetry(monkeypatch, tmp_path, capsys):
    """After the interruption everything is flushed, and the command says where it is."""
    said = []

    def interrupted(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        assert server.config.app.routes
        assert not said.append(sockets[0].getsockname()[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(spanback, "instrument", lambda **choices: said.append(choices))
    monkeypatch.setattr(spanback, "flush", lambda timeout_s: said.append(timeout_s) or True)
    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat")
    folder = tmp_path / "out"
    assert main(["demo", "--web", "--no-open", "--out", str(folder)]) == 0
    assert said == [{"file": folder, "capture_content": True}, "127.0.0.1", 5.0]
    assert f"spanback show {folder}" in capsys.readouterr().out


def test_telemetry_is_read_when_it_has_changed(monkeypatch, tmp_path):
    """As long as the files are as they were, what was told is told again."""
    monkeypatch.setattr(spanback, "flush", lambda timeout_s: True)
    live = LiveTelemetry(tmp_path)
    told = live.told()
    assert json.loads(told) == {"calls": [], "models": [], "call_count": 0, "signal_count": 0}
    assert live.told() is told
    (tmp_path / "traces.jsonl").write_text("\n")
    assert live.told() is not told


async def test_what_is_the_same_is_not_told_again(monkeypatch, tmp_path):
    """The stream is silent while nothing is new, and ends when the server does."""
    monkeypatch.setattr(chat_app, "_LIVE_PAUSE_S", 0.0)
    endings = iter([False, False, False, True])
    chat = chat_app._Chat(chat_app.Model("http://127.0.0.1:1", "none"), tmp_path, None, lambda: next(endings))
    monkeypatch.setattr(chat._live, "told", iter(["1", "1", "2"]).__next__)
    assert [event async for event in chat._changes()] == ["data: 1\n\n", "data: 2\n\n"]
    await chat._client.close()
