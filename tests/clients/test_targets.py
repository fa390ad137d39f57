"""What an app may rate of a response that it keeps as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

import spanback
from spanback import signals
from tests.clients.cases import ClientCase, Style
from tests.clients.test_matrix import CASES, made

WHOLE = [
    (case, style) for case, style in CASES if case.client == "anthropic" and not style.is_stream and not style.reads
]


def dumped(response: Any) -> Any:
    """A response as JSON, as an app stores it; None where the client has no way to do so."""
    for way in ("model_dump", "dict", "to_dict"):
        dump = getattr(response, way, None)
        if callable(dump):
            return json.loads(json.dumps(dump(), default=str))
    return json.loads(json.dumps(response, default=str)) if isinstance(response, dict) else None


@pytest.mark.parametrize(("case", "style"), WHOLE, ids=[f"{case.client}-{style.name}" for case, style in WHOLE])
async def test_a_dumped_response_leads_to_its_span(case: ClientCase, style: Style, bench: Any) -> None:
    """As JSON it is found by its id, wherever the client keeps that; one without an id cannot be found."""
    bench.instrument(clients=[case.client])
    response = await made(style, bench.connect(case, style))
    span = bench.memory.spans[-1]
    body = dumped(response)
    if body is None or "gen_ai.response.id" not in span.attributes:
        return
    receipt = spanback.record_feedback(body, signals.THUMBS_UP)
    assert receipt.status == "recorded"
    assert receipt.target is not None
    assert receipt.target.span_id == span.get_span_context().span_id
