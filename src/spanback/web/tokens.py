"""Tokens for the responses of an app."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from spanback.feedback import reference


def issue_token(
    response: object,
    *,
    user_id: str | None = None,
    signals: Sequence[str] | None = None,
    expires_in_s: int = 86_400,
    max_uses: int | None = None,
    audience: str | None = None,
    keys: Sequence[str] | None = None,
) -> str | None:
    """A feedback token for a response: whoever holds it may rate that response, for a while, and do nothing else.

    It is signed and not encrypted: its holder can read which models and prompt made the response.

    Args:
        response: What `record_feedback` takes: a response, a stream from its first chunk on, a SpanRef, ...
        user_id: The only user who may use it. Only an HMAC of it is in the token.
        signals: The only names of signals it is good for, at most 16; all when None.
        expires_in_s: For how many seconds.
        max_uses: For how many signals; any number when None.
        audience: For whom; SPANBACK_TOKEN_AUDIENCE decides when None, and without it `spanback`.
        keys: Keys that `spanback keys new` made, oldest to newest; those of SPANBACK_TOKEN_KEYS when None.

    Returns:
        The token; None where the span of the response is not known, since nothing records, or it is none of a client
        that is instrumented.

    Raises:
        MissingTokenKey: There is no key to sign with.
        InvalidSetting: An argument breaks its rule.
    """
    ref = reference(response)
    if ref is None:
        return None
    return ref.token(
        user_id=user_id,
        signals=signals,
        expires_in_s=expires_in_s,
        max_uses=max_uses,
        audience=audience,
        keys=keys,
    )


def handle(response: object, *, url: str = "/feedback", **terms: Any) -> dict[str, Any]:
    """What a browser needs to give feedback on a response, for an app's own JSON.

    Args:
        response: As in `issue_token`.
        url: Where the endpoint is.
        terms: More arguments of `issue_token`.

    Returns:
        `token`, `url`, `expires_at` (ISO 8601) and `traceparent`; `token`, `expires_at` and `traceparent` are None
        where the span is not known.

    Raises:
        MissingTokenKey: There is no key to sign with.
        InvalidSetting: An argument breaks its rule.
    """
    token = issue_token(response, **terms)
    ref = reference(response)
    expires_at = time.time() + terms.get("expires_in_s", 86_400)
    shown = datetime.fromtimestamp(int(expires_at), timezone.utc).isoformat()
    return {
        "token": token,
        "url": url,
        "expires_at": None if token is None else shown,
        "traceparent": None if ref is None else ref.traceparent,
    }
