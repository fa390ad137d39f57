"""The embeddings format of OpenAI, which other providers speak too."""

from __future__ import annotations

from typing import Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import Endpoint
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _chat

read_request: Final = body_reader(
    Field("dimensions", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
    Field("encoding_format", sc.GEN_AI_REQUEST_ENCODING_FORMATS, _chat.texts),
)
# Embeddings have no id.
read_response: Final = response_reader(
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("usage.prompt_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
)
EMBEDDINGS: Final = Endpoint("embeddings", read_request, read_response, is_inference=False)
