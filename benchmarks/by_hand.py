"""What a careful developer would write by hand to read each client's response: the same attributes, and no guards.

Benchmarks check that each function reads what spanback reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Read = Callable[[Any], dict[str, Any]]


def anthropic(message: Any) -> dict[str, Any]:
    """A message, whose input tokens leave out the cached ones."""
    usage = message.usage
    return {
        "gen_ai.response.id": message.id,
        "gen_ai.response.model": message.model,
        "gen_ai.response.finish_reasons": [message.stop_reason],
        "gen_ai.usage.input_tokens": (
            usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        ),
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_input_tokens,
        "gen_ai.usage.cache_write.input_tokens": usage.cache_creation_input_tokens,
    }


def bedrock(response: Any) -> dict[str, Any]:
    """A response of `converse`, whose input tokens leave out the cached ones."""
    usage = response["usage"]
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return {
        "gen_ai.response.finish_reasons": [{"end_turn": "stop"}.get(response["stopReason"], response["stopReason"])],
        "gen_ai.usage.input_tokens": usage["inputTokens"] + read + written,
        "gen_ai.usage.output_tokens": usage["outputTokens"],
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_write.input_tokens": written,
    }


def cohere(response: Any) -> dict[str, Any]:
    """A response of v2, whose counts are floats."""
    usage = response.usage
    return {
        "gen_ai.response.id": response.id,
        "gen_ai.response.finish_reasons": [response.finish_reason],
        "gen_ai.usage.input_tokens": int(usage.tokens.input_tokens),
        "gen_ai.usage.output_tokens": int(usage.tokens.output_tokens),
        "gen_ai.usage.cache_read.input_tokens": int(usage.cached_tokens),
    }


def google_genai(response: Any) -> dict[str, Any]:
    """A response of `generate_content`, whose output tokens leave out the thoughts."""
    usage = response.usage_metadata
    text_tokens = sum(one.token_count for one in usage.prompt_tokens_details if one.modality.value == "TEXT")
    return {
        "gen_ai.response.id": response.response_id,
        "gen_ai.response.model": response.model_version,
        "gen_ai.response.finish_reasons": [one.finish_reason.value.lower() for one in response.candidates],
        "gen_ai.usage.input_tokens": usage.prompt_token_count,
        "gen_ai.usage.output_tokens": usage.candidates_token_count + (usage.thoughts_token_count or 0),
        "gen_ai.usage.cache_read.input_tokens": usage.cached_content_token_count,
        "gen_ai.usage.reasoning.output_tokens": usage.thoughts_token_count,
        "gen_ai.usage.text.input_tokens": text_tokens,
    }


def groq(completion: Any) -> dict[str, Any]:
    """A chat completion with the fingerprint of the system."""
    return {**chat_completion(completion), "openai.response.system_fingerprint": completion.system_fingerprint}


def chat_completion(completion: Any) -> dict[str, Any]:
    """A chat completion in the format of OpenAI's."""
    return {
        "gen_ai.response.id": completion.id,
        "gen_ai.response.model": completion.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason for choice in completion.choices],
        "gen_ai.usage.input_tokens": completion.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": completion.usage.completion_tokens,
    }


def ollama(response: Any) -> dict[str, Any]:
    """A response of `chat`."""
    return {
        "gen_ai.response.model": response.model,
        "gen_ai.response.finish_reasons": [response.done_reason],
        "gen_ai.usage.input_tokens": response.prompt_eval_count,
        "gen_ai.usage.output_tokens": response.eval_count,
    }


READ: Final[Mapping[str, Read]] = {
    "anthropic": anthropic,
    "bedrock": bedrock,
    "cohere": cohere,
    "google-genai": google_genai,
    "groq": groq,
    "litellm": chat_completion,
    "mistralai": chat_completion,
    "ollama": ollama,
    "together": chat_completion,
}
"""What reads the response of each client's whole chat."""
