"""What needs a process of its own: imports, the zero-code start, global providers and forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spanback.demo._loopback import LoopbackServer

CALL = """
import openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="test", max_retries=0)
client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
"""


def run(code: str, server: LoopbackServer, *command: str, **environment: str) -> str:
    """What a program prints, in a process without any of this one's settings for telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    # PYTHONPATH may hold what a coverage run needs; the zero-code start adds to it.
    made = subprocess.run(
        [*command, sys.executable, "-c", f"import sys\n{code}", server.base_url],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


IMPORTS = """
import spanback
spanback.instrument()
clients = {"aiobotocore", "anthropic", "boto3", "botocore", "cohere", "groq", "httpx", "httpx2", "langchain_core"}
clients |= {"litellm", "mistralai", "ollama", "openai", "pydantic", "together"}
print([name for name in sys.modules if name.partition(".")[0] in clients or "genai" in name], end=" ")
print({line.state for line in spanback.status() if line.client == 'openai' and '_base_client' in line.target})
"""


def test_instrument_imports_no_client(server: LoopbackServer) -> None:
    """`instrument()` imports no client, and a client that is imported afterwards is instrumented."""
    nowhere = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "LOGS", "METRICS")}
    printed = run(
        f"{IMPORTS}{CALL}print({{line.state for line in spanback.status() if line.client == 'openai' and '_base_client' in line.target}})",
        server,
        **nowhere,
    )
    assert printed.splitlines() == ["[] {'not imported'}", "{'patched'}"]


GLOBAL = """
import spanback
spanback.instrument()
import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""


def test_a_provider_that_is_set_later_is_respected(server: LoopbackServer) -> None:
    """A provider that the app sets after `instrument()` and before its first call gets the spans."""
    code = GLOBAL + CALL + "print([span.name for span in exporter.get_finished_spans()])"
    assert run(code, server, OTEL_LOGS_EXPORTER="none", OTEL_METRICS_EXPORTER="none") == "['chat gpt-4o-mini']\n"


def test_a_forked_child_works(server: LoopbackServer) -> None:
    """A child of a process that has made calls makes spans of its own, and knows its parent's responses."""
    code = (
        GLOBAL
        + CALL
        + """
import os, warnings
from spanback._spanref import RESPONSES
warnings.simplefilter("ignore", DeprecationWarning)
exporter.clear()
known = len(RESPONSES)
child = os.fork()
if child == 0:
    client = openai.OpenAI(base_url=sys.argv[1], api_key="test")
    response = client.chat.completions.create(model="child", messages=[{"role": "user", "content": "hi"}])
    names = [span.name for span in exporter.get_finished_spans()]
    os._exit(0 if names == ["chat child"] and len(RESPONSES) == known + 1 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert run(code, server, OTEL_LOGS_EXPORTER="none", OTEL_METRICS_EXPORTER="none") == "0\n"


@pytest.mark.parametrize(
    ("disabled", "states", "spans"),
    [("", "{'patched'}", 1), ("spanback", "{'not instrumented'}", 0), ("redis,openai", "{'not instrumented'}", 0)],
)
def test_zero_code(disabled: str, states: str, spans: int, server: LoopbackServer, tmp_path: Path) -> None:
    """`opentelemetry-instrument` instruments an app that knows nothing of spanback, unless it is disabled."""
    command = Path(sys.executable).with_name("opentelemetry-instrument")
    if not command.exists():
        pytest.skip("opentelemetry-instrument is not installed beside this Python")
    printed = run(
        CALL
        + "import spanback\nprint({line.state for line in spanback.status() if line.client == 'openai' and '_base_client' in line.target})",
        server,
        str(command),
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled,
        SPANBACK_FILE=str(tmp_path),
    )
    assert printed == f"{states}\n"
    written = "".join(path.read_text() for path in sorted(tmp_path.rglob("*")) if "traces" in path.name)
    assert written.count('"chat gpt-4o-mini"') == spans
