"""The examples that serve pages, and the README's lines for the browser, in Chromium."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanback import reading
from spanback._token_keys import new_key
from spanback.demo._loopback import LoopbackServer
from tests.backends.loopback import answers, free_ports
from tests.backends.servers import eventually

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUESTION = "What is the capital of Australia?"


@contextmanager
def running(arguments: list[str], folder: Path, url: str, more: dict[str, str]):
    """A server of an example, until the block is left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    env = {
        **kept,
        "OPENAI_API_KEY": "not-needed",
        "SPANBACK_TOKEN_KEYS": new_key(),
        "SPANBACK_FILE": str(folder),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **more,
    }
    log = folder / "server.log"
    with log.open("wb") as output, subprocess.Popen(arguments, env=env, stdout=output, stderr=output) as process:
        try:
            eventually(lambda: answers(url) or process.poll() is not None, timeout_s=30)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()


def rated(folder: Path) -> list[tuple[str | None, list[tuple[str, float | None]]]]:
    """The model of each rated call, with its signals."""
    with reading.open(str(folder)) as reader:
        return [
            (one.call and one.call.request_model, [(signal.name, signal.score) for signal in one.feedback])
            for one in reader.rated()
        ]


@pytest.mark.parametrize("name", ["flask", "django"])
def test_an_example_of_one_file_takes_a_thumb(page, tmp_path, name):
    """Ask, press the thumb, change the mind: the telemetry has the signal on the call."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    file = str(ROOT / "examples" / f"{name}_app.py")
    command = {"flask": ["-m", "flask", "--app", file, "run", "--port", str(port)], "django": [file, str(port)]}[name]
    with (
        LoopbackServer() as model,
        running([sys.executable, *command], tmp_path, url, {"OPENAI_BASE_URL": model.base_url}),
    ):
        page.goto(url)
        page.get_by_label("Question").fill(QUESTION)
        page.get_by_role("button", name="Ask").click()
        page.get_by_role("button", name="Good answer").click()
        assert page.locator("output").text_content() == "The capital of Australia is Sydney."
        eventually(lambda: rated(tmp_path) == [("gpt-4o-mini", [("user_thumbs", 1.0)])])
        page.get_by_role("button", name="Bad answer").click()
        eventually(lambda: rated(tmp_path) == [("gpt-4o-mini", [("user_thumbs", -1.0)])])


def test_the_chat_runs_with_a_model_of_ones_own(page, tmp_path, monkeypatch):
    """`examples/chat/app.py` takes any server that speaks OpenAI's format."""
    monkeypatch.chdir(tmp_path)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    with LoopbackServer() as model:
        command = [sys.executable, str(ROOT / "examples" / "chat" / "app.py"), "gpt-4.1"]
        with running(command, tmp_path, url, {"OPENAI_BASE_URL": model.base_url, "PORT": str(port)}):
            page.goto(url)
            page.get_by_label("Your question").fill(QUESTION)
            page.get_by_role("button", name="Send").click()
            page.get_by_role("button", name="Good answer").click()
            page.locator(".signal.positive").wait_for()
    assert "chat gpt-4.1" in (tmp_path / "telemetry" / "traces.jsonl").read_text()


def test_the_readme_s_lines_for_the_browser_work_as_they_stand(page, endpoint):
    """What the README shows of the module runs, and sends what it says."""
    html = re.findall(r"^```html browser\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    script = re.findall(r"^```js browser\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert (len(html), len(script)) == (1, 1)
    token = "eyJhbGciOiJIUzI1NiJ9.eyJ0IjoiYWJjIn0.c2ln"
    assert "eyJhbGciOi..." in html[0]
    endpoint.page = (
        f"<!doctype html><title>README</title>{html[0].replace('eyJhbGciOi...', token)}<div class=answer>Text</div>"
        f"<script type=module>const token = '{token}';\n{script[0]}\nglobalThis.ready = true;</script>"
    )
    page.goto(endpoint.url)
    page.wait_for_function("globalThis.ready")
    names = {"tone", "edited"}
    eventually(lambda: {body["name"] for body in endpoint.bodies} >= names)
    page.get_by_role("button", name="Gute Antwort").click()
    eventually(lambda: endpoint.bodies[-1] == {"name": "user_thumbs", "weight": 0.8, "score": 1})
