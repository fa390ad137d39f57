"""Other instrumentations of the same client, each in a virtual environment of its own outside the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.scenarios import Providers, Telemetry

ROOT: Final = Path(__file__).parent.parent
_NO_KEY: Final = "not-a-key"


@dataclass(frozen=True)
class Peer:
    """One other instrumentation.

    Attributes:
        requirements: What is installed for it, beside spanback and openai.
        instrument: Switches it on for providers; returns False where it cannot do what a scenario asks.
    """

    requirements: tuple[str, ...]
    instrument: Callable[[Providers, Telemetry], bool]


def _kwargs(providers: Providers) -> dict[str, Any]:
    given = {"tracer_provider": providers.tracer_provider, "meter_provider": providers.meter_provider}
    return {name: value for name, value in given.items() if value is not None}


def _openinference(providers: Providers, telemetry: Telemetry) -> bool:
    from openinference.instrumentation import TraceConfig
    from openinference.instrumentation.openai import OpenAIInstrumentor

    hide = telemetry != "content"
    OpenAIInstrumentor().instrument(config=TraceConfig(hide_inputs=hide, hide_outputs=hide), **_kwargs(providers))
    return telemetry != "metrics"


def _openllmetry(providers: Providers, telemetry: Telemetry) -> bool:
    os.environ["TRACELOOP_TRACE_CONTENT"] = str(telemetry == "content").lower()
    os.environ["TRACELOOP_METRICS_ENABLED"] = str(telemetry == "metrics").lower()
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(**_kwargs(providers))
    return True


def _genai(providers: Providers, telemetry: Telemetry) -> bool:
    mode = "span_only" if telemetry == "content" else "no_content"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = mode
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(**_kwargs(providers))
    return True


def _langfuse(providers: Providers, telemetry: Telemetry) -> bool:
    if telemetry != "content":  # it always keeps content, and makes its own provider where it is given none
        return False
    from langfuse import Langfuse

    Langfuse(
        public_key=_NO_KEY,
        secret_key=_NO_KEY,
        base_url="http://127.0.0.1:1",
        tracer_provider=providers.tracer_provider,
        span_exporter=_null_exporter(),
    )
    import langfuse.openai  # noqa: F401 - the import is what wraps the client

    return True


def _logfire(providers: Providers, telemetry: Telemetry) -> bool:
    if telemetry not in {"content", "spans"}:  # content can be scrubbed but not left out; it makes its own provider
        return False
    import logfire

    del providers
    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        metrics=False,
        additional_span_processors=[_batch()],
    )
    logfire.instrument_openai()
    return telemetry == "content"


def _null_exporter() -> Any:
    from benchmarks.scenarios import NullExporter

    return NullExporter()


def _batch() -> Any:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(_null_exporter())


PEERS: Final[dict[str, Peer]] = {
    "openinference": Peer(("openinference-instrumentation-openai",), _openinference),
    "openllmetry": Peer(("opentelemetry-instrumentation-openai",), _openllmetry),
    "genai": Peer(("opentelemetry-instrumentation-genai-openai",), _genai),
    "langfuse": Peer(("langfuse",), _langfuse),
    "logfire": Peer(("logfire",), _logfire),
}


def default_cache() -> Path:
    """Where virtual environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanback-benchmarks"


def environment_for(name: str, cache: Path) -> Path:
    """The Python of a peer's virtual environment, made with the newest versions that go together if it is not there.

    Raises:
        subprocess.CalledProcessError: It could not be installed.
    """
    folder = cache / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"installing {name} into {folder} ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        requirements = ["-e", str(ROOT), "openai", *PEERS[name].requirements]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        done.touch()
    return python
