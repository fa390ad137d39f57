"""A call of a model through a framework that somebody else traces is one span, and feedback finds it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.peers.test_peers import SAID

RATED = {
    "openinference_langchain": ("openinference.instrumentation.langchain", "ChatOpenAI"),
    "openllmetry_langchain": ("opentelemetry.instrumentation.langchain", "ChatOpenAI.chat"),
    "openinference_agents": ("openinference.instrumentation.openai_agents", "response"),
    "openllmetry_agents": ("opentelemetry.instrumentation.openai_agents", "openai.response"),
    "logfire_agents": ("agents", "Responses API with {gen_ai.request.model!r}"),
}
"""By peer: the module that must be there, and the name of the span of a model's call."""
CALLS = {"langchain": ["invoke", "stream", "ainvoke", "astream"], "agents": ["run", "run_streamed"]}


def is_installed(module: str) -> bool:
    """Whether a module is there."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("order", ["ours first", "peer first"])
@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(peer, marks=pytest.mark.skipif(not is_installed(module), reason=f"{module} is not installed here"))
        for peer, (module, _) in RATED.items()
    ],
)
def test_a_call_through_a_framework_is_counted_once(peer: str, order: str) -> None:
    """The peer's span is kept, ours is not made, and feedback binds to the span of the model's call."""
    command = [sys.executable, "-m", "tests.peers.frameworks", peer, order]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    told = [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]
    assert [one["call"] for one in told] == CALLS[peer.rpartition("_")[2]]
    for one in told:
        assert (one["ours"], one["rated"]) == ([], [RATED[peer][1]]), one
        (span,) = one["said"]
        assert len(span.pop("user.hash")) == 64, one
        assert (span, one["copied"]) == (SAID, SAID), one
