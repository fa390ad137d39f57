"""What the README says of targets and of `spanback.context()` holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spanback.demo._loopback import LoopbackServer
from tests.test_readme import README, environment

BEFORE = """
import openai, spanback
from spanback.testing import InMemoryTelemetry
telemetry = InMemoryTelemetry()
spanback.instrument(tracer_provider=telemetry.tracer_provider, set_up=False)
client = openai.OpenAI()
messages = [{"role": "user", "content": "Kyoto?"}]
response = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
"""
AFTER = """
spanback.record_feedback(response, score=1)
print([row.attributes["feedback.target.scope"] for row in telemetry.feedback])
call, carrier = (dict(span.attributes) for span in telemetry.spans[-2:])
for name in ("gen_ai.prompt.name", "gen_ai.prompt.version", "spanback.tags"):
    assert call[name] == carrier[name], name
print(call["gen_ai.retrieval.documents"], "user.hash" in call)
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the snippets print, with what stands around them, in a folder of their own."""
    snippets = re.findall(r"^```python ctx\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    folder: Path = tmp_path_factory.mktemp("readme")
    with LoopbackServer() as server:
        env = environment(server, SPANBACK_USER_HASH_KEY="key")
        script = "\n".join([BEFORE, *snippets, AFTER])
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "responses.db").exists()
    return done.stdout.splitlines()


def test_the_snippets_rate_what_the_text_says(printed: list[str]) -> None:
    """Each of the calls has the scope that its comment names."""
    assert printed[0] == "['choice', 'tool_call', 'document', 'trace', 'conversation', 'response']"


def test_the_context_is_on_the_call_and_on_its_feedback(printed: list[str]) -> None:
    """Without content capture, documents are ids and scores; the user is a hash."""
    assert printed[1] == '[{"id":"kb-7","score":0.83}] True'
