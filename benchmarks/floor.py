"""The hand-written span: what a careful developer would write around each call, with exactly spanback's attributes.

Attribute names are literals, each span gets two mappings (request and response), and nothing is written that the app
does not need: no handle, no index, no guard against odd responses. So it is about as cheap as a span by hand can be.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.trace import SpanKind, Tracer, use_span

DURATION_BUCKETS_S = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKEN_BUCKETS = [float(4**power) for power in range(14)]
CHAT_REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 200,
    "server.address": "api.openai.com",
    "server.port": 443,
    "openai.api.type": "chat_completions",
}
STREAM_REQUEST = {**CHAT_REQUEST, "gen_ai.request.stream": True}
RESPONSES_REQUEST = {**CHAT_REQUEST, "openai.api.type": "responses"}
NAME = "chat gpt-4o-mini"


def chat_attributes(response: Any) -> dict[str, Any]:
    """What a chat completion says."""
    usage = response.usage
    return {
        "gen_ai.response.id": response.id,
        "gen_ai.response.model": response.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason for choice in response.choices],
        "openai.response.service_tier": response.service_tier,
        "openai.response.system_fingerprint": response.system_fingerprint,
        **usage_attributes(usage),
    }


def usage_attributes(usage: Any) -> dict[str, Any]:
    """The token counts of a chat completion."""
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.prompt_tokens_details.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.completion_tokens_details.reasoning_tokens,
    }


def responses_attributes(response: Any) -> dict[str, Any]:
    """What a response of the Responses API says."""
    usage = response.usage
    return {
        "gen_ai.response.id": response.id,
        "gen_ai.response.model": response.model,
        "gen_ai.response.finish_reasons": ["stop" if response.status == "completed" else response.status],
        "openai.response.service_tier": response.service_tier,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.input_tokens_details.cached_tokens,
        "gen_ai.usage.cache_write.input_tokens": usage.input_tokens_details.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.output_tokens_details.reasoning_tokens,
    }


def chat(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A chat completion."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=CHAT_REQUEST) as span:
        response = create(**arguments)
        span.set_attributes(chat_attributes(response))
    return response


async def chat_async(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A chat completion, awaited."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=CHAT_REQUEST) as span:
        response = await create(**arguments)
        span.set_attributes(chat_attributes(response))
    return response


def responses(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A response of the Responses API."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=RESPONSES_REQUEST) as span:
        response = create(**arguments)
        span.set_attributes(responses_attributes(response))
    return response


def chat_one_by_one(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A chat completion, as most hand-written code has it: what the response says is set attribute by attribute."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=CHAT_REQUEST) as span:
        response = create(**arguments)
        usage = response.usage
        span.set_attribute("gen_ai.response.id", response.id)
        span.set_attribute("gen_ai.response.model", response.model)
        span.set_attribute("gen_ai.response.finish_reasons", [choice.finish_reason for choice in response.choices])
        span.set_attribute("openai.response.service_tier", response.service_tier)
        span.set_attribute("openai.response.system_fingerprint", response.system_fingerprint)
        span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.prompt_tokens_details.cached_tokens)
        span.set_attribute("gen_ai.usage.reasoning.output_tokens", usage.completion_tokens_details.reasoning_tokens)
    return response


async def responses_async(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A response of the Responses API, awaited."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=RESPONSES_REQUEST) as span:
        response = await create(**arguments)
        span.set_attributes(responses_attributes(response))
    return response


def chat_with_content(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A chat completion whose messages are kept, in the shape of the conventions."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=CHAT_REQUEST) as span:
        response = create(**arguments)
        span.set_attributes(
            {
                **chat_attributes(response),
                "gen_ai.input.messages": compact(
                    [
                        {"role": message["role"], "parts": [{"type": "text", "content": message["content"]}]}
                        for message in arguments["messages"]
                    ]
                ),
                "gen_ai.output.messages": compact(
                    [
                        {
                            "role": "assistant",
                            "parts": [{"type": "text", "content": choice.message.content}],
                            "finish_reason": choice.finish_reason,
                        }
                        for choice in response.choices
                    ]
                ),
            }
        )
    return response


def responses_with_content(tracer: Tracer, create: Any, arguments: Any) -> Any:
    """A response of the Responses API whose instructions, input and output are kept."""
    with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=RESPONSES_REQUEST) as span:
        response = create(**arguments)
        parts = [{"type": "text", "content": part.text} for item in response.output for part in item.content]
        output = [{"role": "assistant", "parts": parts, "finish_reason": "stop"}]
        span.set_attributes(
            {
                **responses_attributes(response),
                "gen_ai.system_instructions": compact([{"type": "text", "content": arguments["instructions"]}]),
                "gen_ai.input.messages": compact(
                    [{"role": "user", "parts": [{"type": "text", "content": arguments["input"]}]}]
                ),
                "gen_ai.output.messages": compact(output),
            }
        )
    return response


def compact(value: object) -> str:
    """JSON with nothing that is not needed."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Streamed:
    """What a hand-written generator gathers of a stream: the text, the end of it, the usage, the first chunk's time."""

    def __init__(self) -> None:
        self.start_s = time.perf_counter()
        self.first_chunk_s: float | None = None
        self.texts: list[str] = []
        self.finish_reasons: list[str] = []
        self.usage: Any = None

    def attributes(self, chunk: Any) -> dict[str, Any]:
        """All of it, with what the last chunk says."""
        return {
            "gen_ai.response.id": chunk.id,
            "gen_ai.response.model": chunk.model,
            "gen_ai.response.finish_reasons": self.finish_reasons,
            "gen_ai.response.time_to_first_chunk": self.first_chunk_s,
            "openai.response.service_tier": chunk.service_tier,
            "openai.response.system_fingerprint": chunk.system_fingerprint,
            **usage_attributes(self.usage),
        }


def chat_stream(tracer: Tracer, create: Any, arguments: Any) -> Iterator[Any]:
    """A streamed chat completion."""
    span = tracer.start_span(NAME, kind=SpanKind.CLIENT, attributes=STREAM_REQUEST)
    with use_span(span):
        streamed = Streamed()
        stream = create(**arguments)
    chunk = None
    try:
        for chunk in stream:
            if streamed.first_chunk_s is None:
                streamed.first_chunk_s = time.perf_counter() - streamed.start_s
            for choice in chunk.choices:
                if choice.delta.content:
                    streamed.texts.append(choice.delta.content)
                if choice.finish_reason:
                    streamed.finish_reasons.append(choice.finish_reason)
            if chunk.usage:
                streamed.usage = chunk.usage
            yield chunk
    finally:
        if chunk is not None:
            span.set_attributes(streamed.attributes(chunk))
        span.end()


async def chat_stream_async(tracer: Tracer, create: Any, arguments: Any) -> AsyncIterator[Any]:
    """A streamed chat completion, async."""
    span = tracer.start_span(NAME, kind=SpanKind.CLIENT, attributes=STREAM_REQUEST)
    with use_span(span):
        streamed = Streamed()
        stream = await create(**arguments)
    chunk = None
    try:
        async for chunk in stream:
            if streamed.first_chunk_s is None:
                streamed.first_chunk_s = time.perf_counter() - streamed.start_s
            for choice in chunk.choices:
                if choice.delta.content:
                    streamed.texts.append(choice.delta.content)
                if choice.finish_reason:
                    streamed.finish_reasons.append(choice.finish_reason)
            if chunk.usage:
                streamed.usage = chunk.usage
            yield chunk
    finally:
        if chunk is not None:
            span.set_attributes(streamed.attributes(chunk))
        span.end()


class ChatWithMetrics:
    """A chat completion with the conventions' client metrics, recorded by hand."""

    def __init__(self, meter: Meter) -> None:
        def tokens(direction: str) -> Any:
            name = f"gen_ai.client.inference.operation.{direction}_tokens"
            return meter.create_histogram(name, "{token}", explicit_bucket_boundaries_advisory=TOKEN_BUCKETS)

        self._duration = meter.create_histogram(
            "gen_ai.client.inference.duration", "s", explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S
        )
        self._input, self._output = tokens("input"), tokens("output")
        self._counters = [
            meter.create_counter(f"gen_ai.client.inference.usage.{which}_tokens", "{token}")
            for which in ("input", "output", "cache_read.input")
        ]

    def chat(self, tracer: Tracer, create: Any, arguments: Any) -> Any:
        """A chat completion."""
        start_s = time.perf_counter()
        with tracer.start_as_current_span(NAME, kind=SpanKind.CLIENT, attributes=CHAT_REQUEST) as span:
            response = create(**arguments)
            span.set_attributes(chat_attributes(response))
            usage = response.usage
            dimensions = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.response.model": response.model,
                "server.address": "api.openai.com",
                "server.port": 443,
            }
            self._duration.record(time.perf_counter() - start_s, dimensions)
            self._input.record(usage.prompt_tokens, dimensions)
            self._output.record(usage.completion_tokens, dimensions)
            with_modality = {**dimensions, "gen_ai.token.modality": "unknown"}
            counts = (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)
            for counter, tokens in zip(self._counters, counts, strict=True):
                counter.add(tokens, with_modality)
        return response
