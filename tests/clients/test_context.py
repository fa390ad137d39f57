"""What an app says of its calls is on the span of each, and on all feedback about it, whichever client made it."""

from __future__ import annotations

import json
from typing import Any

import pytest

import spanback
from tests.clients.cases import ClientCase, Style
from tests.clients.test_matrix import CASES, made, over_all

SAID: dict[str, Any] = {
    "conversation_id": "conv-1",
    "user_id": "anna",
    "tags": ["beta", "chat"],
    "experiment": "tone",
    "variant": "warm",
}
ON_SPAN = {
    "gen_ai.conversation.id": "conv-1",
    "spanback.tags": ("beta", "chat"),
    "feature_flag.key": "tone",
    "feature_flag.result.variant": "warm",
}
PROMPT = {"gen_ai.prompt.name": "greeting", "gen_ai.prompt.version": "7"}
HASH = "d27d461c645c7ca868ae8aca573e224c27f80f3e705a969a5430b86888eb9049"
INFERENCES = ("chat", "text_completion", "generate_content")


@over_all
async def test_what_the_app_says_is_on_the_span_and_on_its_feedback(
    case: ClientCase, style: Style, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its span says it under the conventions' names, and reports on feedback need no join."""
    monkeypatch.setenv("SPANBACK_USER_HASH_KEY", "key")
    if style.name.startswith(("Router.completion", "Router.embedding")) and not style.is_async:
        pytest.skip("inside of a running loop, LiteLLM's sync router calls from a thread without the context")
    bench.instrument(clients=[case.client])
    client = bench.connect(case, style)
    with spanback.context(prompt_name="greeting", prompt_version="7", **SAID):
        assert spanback.annotate_context(documents=[{"id": "kb-7", "score": 0.5, "content": "not kept"}, "kb-8"])
        rated = await made(style, client)
    receipt = spanback.record_feedback(rated, score=1)
    carrier = bench.memory.spans[-1]
    span = bench.memory.spans[-2]
    assert len(bench.memory.spans) == 2
    attributes = dict(span.attributes or {})
    is_inference = attributes["gen_ai.operation.name"] in INFERENCES
    assert {name: attributes.pop(name) for name in ON_SPAN} == ON_SPAN
    assert attributes.pop("user.hash") == HASH
    prompt = {name: attributes.pop(name) for name in PROMPT if name in attributes}
    documents = json.loads(attributes.pop("gen_ai.retrieval.documents", "null"))
    assert (prompt, documents) == (
        (PROMPT, [{"id": "kb-7", "score": 0.5}, {"id": "kb-8"}]) if is_inference else ({}, None)
    )
    assert receipt.status == "recorded"
    copied = dict(carrier.attributes or {})
    if attributes["gen_ai.operation.name"] != "fetch_response":
        assert {name: copied[name] for name in (*ON_SPAN, *PROMPT)} == {**ON_SPAN, **PROMPT}
    assert "user.hash" not in copied


@pytest.mark.parametrize(
    ("case", "style"), [one for one in CASES if one[1].name == "messages.create" and not one[1].is_async]
)
async def test_content_of_documents_only_where_captured(case: ClientCase, style: Style, bench: Any) -> None:
    """With capture on, the documents' texts are kept beside their ids."""
    bench.instrument(clients=[case.client], capture_content=True)
    with spanback.context(tags=["a"]):
        spanback.annotate_context(documents=[{"id": "kb-7", "score": 1, "content": "Kyoto"}])
        await made(style, bench.connect(case, style))
    documents = json.loads(bench.memory.span.attributes["gen_ai.retrieval.documents"])
    assert documents == [{"id": "kb-7", "score": 1.0, "content": "Kyoto"}]
