"""Putting what an app says on the spans of model calls: on those of ours as they end, on those of others while open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span

from spanback import semconv as sc
from spanback._said import Document, Entry, entry_of
from spanback._settings import IN_FORCE, SPAN_MODES, Settings
from spanback._settings import current as current_settings
from spanback.instrumentation._adapter import Attributes, Clip
from spanback.instrumentation._content import Clipper, to_json


def attributes_of(entry: Entry, settings: Settings, *, is_inference: bool = True) -> Attributes:
    """What stands on a model call's span whatever is captured; of documents, their ids and scores.

    What generates nothing, such as embeddings, has no prompt and is given no documents.
    """
    attributes: Attributes = entry.attributes(settings.user_hash_key)
    if not is_inference:
        attributes.pop(sc.GEN_AI_PROMPT_NAME, None)
        attributes.pop(sc.GEN_AI_PROMPT_VERSION, None)
        return attributes
    documents = entry.documents
    if documents:
        attributes[sc.GEN_AI_RETRIEVAL_DOCUMENTS] = to_json([_row(one) for one in documents])
    return attributes


def read_documents(documents: Sequence[Document], clip: Clip) -> Attributes:
    """Documents with their content, for a call whose content is captured."""
    if not documents:
        return {}
    rows = [_row(one) if one.content is None else {**_row(one), "content": clip(one.content)} for one in documents]
    return {sc.GEN_AI_RETRIEVAL_DOCUMENTS: rows}


def apply_to(span: Span, context: Context) -> None:
    """Puts what holds in a context on an open span that somebody else has made for a model call."""
    entry = entry_of(context)
    if entry is not None and span.is_recording():
        settings = IN_FORCE.settings or current_settings()
        span.set_attributes({**attributes_of(entry, settings), **document_attributes(entry, settings)})


def document_attributes(entry: Entry, settings: Settings) -> Attributes:
    """The documents of a span that somebody else has made, with their content where that is captured on spans."""
    content = settings.content in SPAN_MODES
    rows = read_documents(entry.documents, Clipper(settings.content_limit_bytes)) if content else {}
    return {name: to_json(value) for name, value in rows.items()}


def _row(document: Document) -> dict[str, Any]:
    row: dict[str, Any] = {"id": document.id}
    return row if document.score is None else {**row, "score": document.score}
