"""An app that uses spanback and another instrumentation of the openai client, and tells what spans it made.

Run as `python -m tests.peers.app PEER ORDER [adopt]`; prints one JSON object a call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import spanback
from spanback.demo._loopback import LoopbackServer
from tests.instrumentation.driving import MESSAGES, MODEL, make_client

EXPORTER = InMemorySpanExporter()


def no_provider() -> None:
    """For a peer that makes its own."""


def provider() -> None:
    """The app's own provider, set for all."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(made)


def openllmetry() -> Callable[[], None]:
    """Traceloop's."""
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    return OpenAIInstrumentor().uninstrument


def openinference() -> Callable[[], None]:
    """Arize's."""
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    return OpenAIInstrumentor().uninstrument


def genai() -> Callable[[], None]:
    """OpenTelemetry's own."""
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    return OpenAIInstrumentor().uninstrument


def openlit() -> Callable[[], None]:
    """OpenLIT's."""
    from openlit._config import OpenlitConfig

    OpenlitConfig.reset_to_defaults()
    OpenlitConfig.metrics_dict = None
    from openlit.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(disable_metrics=True)
    return OpenAIInstrumentor().uninstrument


def logfire() -> Callable[[], None]:
    """Pydantic's, with the provider that it makes."""
    import logfire as package

    package.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(EXPORTER)])
    manager = package.instrument_openai()
    manager.__enter__()
    return lambda: manager.__exit__(None, None, None)


def langfuse() -> Callable[[], None]:
    """Langfuse's drop-in client."""
    from langfuse import Langfuse

    Langfuse(
        public_key="p",
        secret_key="s",
        base_url="http://127.0.0.1:1",
        tracer_provider=trace.get_tracer_provider(),
        span_exporter=InMemorySpanExporter(),
    )
    import langfuse.openai  # noqa: F401 - the import is what wraps the client

    return no_provider


SAID: dict[str, Any] = {
    "prompt_name": "greeting",
    "prompt_version": "7",
    "conversation_id": "conv-1",
    "user_id": "anna",
    "tags": ["beta", "é"],
    "experiment": "tone",
    "variant": "warm",
}
"""What the app says about each of its calls."""

NAMES = (
    "gen_ai.prompt.name",
    "gen_ai.prompt.version",
    "gen_ai.conversation.id",
    "user.hash",
    "spanback.tags",
    "feature_flag.key",
    "feature_flag.result.variant",
)


def said(span: Any) -> dict[str, Any]:
    """What a span says of it."""
    return {name: span.attributes[name] for name in NAMES if name in span.attributes}


PEERS = {one.__name__: one for one in (openllmetry, openinference, genai, openlit, logfire, langfuse)}


def tell(call: str, found: Any) -> None:
    """Prints what a call made of spans, and which of them it refers to."""
    spans = EXPORTER.get_finished_spans()
    EXPORTER.clear()
    reference = spanback.reference(found)
    by_id = spanback.reference(found.id)
    spanback.record_feedback(found, score=1)
    (carrier,) = EXPORTER.get_finished_spans()
    EXPORTER.clear()
    told = {
        "said": [said(span) for span in spans],
        "copied": said(carrier),
        "call": call,
        "scopes": [span.instrumentation_scope.name for span in spans],
        "reference": [span.context.span_id for span in spans].index(reference.span_id) if reference else None,
        "by id": bool(by_id),
    }
    print(json.dumps(told), flush=True)


async def drive(when: str, server: LoopbackServer) -> None:
    """Calls the client in the styles that matter."""
    client, other = make_client(server), make_client(server, is_async=True)
    asked = {"model": MODEL, "messages": MESSAGES}
    about = spanback.context(**SAID)
    with about:
        chat = client.chat.completions.create(**asked)
    tell(f"{when}: chat", chat)
    with about:
        stream = client.chat.completions.create(**asked, stream=True)
    tell(f"{when}: stream", list(stream)[-1])
    with about:
        response = client.responses.create(model=MODEL, input="x")
    tell(f"{when}: responses", response)
    async with about:
        chat = await other.chat.completions.create(**asked)
    tell(f"{when}: async chat", chat)
    async with about:
        chunks = await other.chat.completions.create(**asked, stream=True)
    tell(f"{when}: async stream", [chunk async for chunk in chunks][-1])
    await other.close()


async def main(peer: str, order: str, adopt: str = "") -> None:
    """Instruments in an order, calls, takes the peer away, calls, takes spanback away, calls."""
    os.environ.update(OTEL_SDK_DISABLED="false", SPANBACK_USER_HASH_KEY="k" * 32)
    if peer != "logfire":
        provider()
    choices = {} if not adopt else {"adopt": adopt == "adopt"}
    if order == "only":
        spanback.instrument(clients=[])
        remove = PEERS[peer]()
    elif order == "ours first":
        spanback.instrument(**choices)
        remove = PEERS[peer]()
    else:
        remove = PEERS[peer]()
        spanback.instrument(**choices)
    with LoopbackServer(pause_s=0, chunk_pause_s=0) as server:
        await drive("both", server)
        print(
            json.dumps(
                {
                    "status": sorted(
                        {
                            (one.state, one.detail or "")
                            for one in spanback.status()
                            if "openai._base_client" in one.target
                        }
                    )
                }
            ),
            flush=True,
        )
        if order != "only":
            remove()
            await drive("ours", server)


if __name__ == "__main__":
    assert openai
    asyncio.run(main(*sys.argv[1:]))
