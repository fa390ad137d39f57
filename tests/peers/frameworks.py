"""An app that calls models through a framework which somebody else traces, and tells what spans it made.

Run as `python -m tests.peers.frameworks PEER ORDER`; prints one JSON object a call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import openai
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import spanback
from spanback.demo._loopback import LoopbackServer
from tests.peers.app import EXPORTER, SAID, provider, said

MODEL = "gpt-4o-mini"


def openinference_langchain() -> None:
    """Arize's, of LangChain's runs."""
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument()


def openllmetry_langchain() -> None:
    """Traceloop's, of LangChain's runs."""
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument()


def openinference_agents() -> None:
    """Arize's, of the tracing of the OpenAI Agents SDK."""
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    OpenAIAgentsInstrumentor().instrument()


def openllmetry_agents() -> None:
    """Traceloop's, of the tracing of the OpenAI Agents SDK."""
    from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    OpenAIAgentsInstrumentor().instrument()


def logfire_agents() -> None:
    """Pydantic's, of the tracing of the OpenAI Agents SDK, with the provider that it makes."""
    import logfire

    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(EXPORTER)])
    logfire.instrument_openai_agents()


PEERS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        openinference_langchain,
        openllmetry_langchain,
        openinference_agents,
        openllmetry_agents,
        logfire_agents,
    )
}


def tell(call: str, found: Any) -> None:
    """Prints which spans say that they are a call of a model, and which of all that ended the response refers to."""
    spans = EXPORTER.get_finished_spans()
    EXPORTER.clear()
    reference = spanback.reference(found)
    spanback.record_feedback(found, score=1)
    (carrier,) = EXPORTER.get_finished_spans()
    EXPORTER.clear()
    told = {
        "call": call,
        "ours": [span.name for span in spans if span.instrumentation_scope.name == "spanback"],
        "rated": [span.name for span in spans if reference and span.context.span_id == reference.span_id],
        "said": [said(span) for span in spans if reference and span.context.span_id == reference.span_id],
        "copied": said(carrier),
    }
    print(json.dumps(told), flush=True)


async def langchain(server: LoopbackServer) -> None:
    """Calls a chat model of LangChain in the styles that matter."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, base_url=server.base_url, api_key="not-needed")
    tell("invoke", model.invoke("Hi"))
    tell("stream", list(model.stream("Hi"))[-1])
    tell("ainvoke", await model.ainvoke("Hi"))
    tell("astream", [chunk async for chunk in model.astream("Hi")][-1])


async def agents(server: LoopbackServer) -> None:
    """Runs an agent of the OpenAI Agents SDK, whole and streamed."""
    from agents import Agent, OpenAIResponsesModel, Runner

    client = openai.AsyncOpenAI(base_url=server.base_url, api_key="not-needed")
    agent = Agent(name="guide", model=OpenAIResponsesModel(model=MODEL, openai_client=client))
    run = await Runner.run(agent, "Hi")
    tell("run", run.raw_responses[-1].response_id)
    streamed = Runner.run_streamed(agent, "Hi")
    async for _event in streamed.stream_events():
        pass
    tell("run_streamed", streamed.raw_responses[-1].response_id)
    await client.close()


async def main(peer: str, order: str) -> None:
    """Instruments in an order, and calls."""
    os.environ.update(OTEL_SDK_DISABLED="false", SPANBACK_USER_HASH_KEY="k" * 32)
    if peer != "logfire_agents":
        provider()
    steps = [PEERS[peer], spanback.instrument]
    for step in steps if order == "peer first" else steps[::-1]:
        step()
    with LoopbackServer(pause_s=0, chunk_pause_s=0) as server, spanback.context(**SAID):
        await (langchain if peer.endswith("langchain") else agents)(server)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
