"""The process of a real model's server: waited for, told when it fails, and always ended."""

from __future__ import annotations

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
