"""A key, a rated span, and telemetry in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from spanback import SpanRef, _settings
from spanback._settings import Settings
from spanback.testing import InMemoryTelemetry, capture

KEY = "hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
OTHER_KEY = "hs256:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA"
ED25519_KEY = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
REF = SpanRef(
    trace_id=0x0AF7651916CD43DD8448EB211C80319C,
    span_id=0xB7AD6B7169203331,
    sampled=True,
    start_time_ns=1_760_000_000_123_456_789,
    response_id="chatcmpl-BVnJq8kzH1cTnU3JYm1ZkXl2",
    provider_name="openai",
    request_model="gpt-4o-mini",
    response_model="gpt-4o-mini-2024-07-18",
    prompt_name="museum-guide",
    prompt_version="12",
    conversation_id="conv_0123456789abcdef",
    root_span_id=0x00F067AA0BA902B7,
)
OTHER_REF = replace(REF, span_id=0xC, response_id="chatcmpl-other")


@pytest.fixture
def configure() -> Iterator[Callable[..., Settings]]:
    """Puts settings in force that differ from those of the tests by the arguments."""

    def put(**choices: Any) -> Settings:
        settings = Settings(token_keys=(KEY,), feedback_content=True, user_hash_key=b"pepper")._replace(**choices)
        _settings.use(settings)
        return settings

    put()
    yield put
    _settings.use(None)


@pytest.fixture
def telemetry(configure: Callable[..., Settings]) -> Iterator[InMemoryTelemetry]:
    """Providers in memory."""
    with capture() as kept:
        configure()
        yield kept
