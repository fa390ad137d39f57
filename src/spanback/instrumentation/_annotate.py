"""`annotate_context()`: which documents an app has retrieved and puts before the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from opentelemetry import context as otel_context
from opentelemetry import trace

from spanback._never_raise import never_raise
from spanback._said import DOCUMENT_LIMIT, Document, Entry, Said, entry_of, with_entry
from spanback.errors import InvalidContext
from spanback.instrumentation._adopt import peer_of
from spanback.instrumentation._applying import apply_to

ID_LIMIT_CHARACTERS: Final = 256
DOCUMENTS_RULE: Final = (
    f"must be at most {DOCUMENT_LIMIT} documents in a list, each an id or a mapping with an 'id' of 1 to "
    f"{ID_LIMIT_CHARACTERS} printable characters or an int, and if known a 'score' that is a finite number and a "
    "'content' of text"
)


def annotate_context(*, documents: Iterable[str | int | Mapping[str, Any]]) -> bool:
    """Notes which documents were retrieved for the model calls that follow in the current `spanback.context()` block.

        with spanback.context(prompt_name="answer"):
            spanback.annotate_context(documents=[{"id": "kb-7", "score": 0.83, "content": text}])
            response = client.chat.completions.create(...)

    They stand on the spans of these calls as `gen_ai.retrieval.documents`: ids and scores always, content only where
    content capture is on. Called again in the same block, it adds documents, and one of a known id replaces it; the
    last 100 are kept. Tasks and threads that were begun in the block note for all of it. A call that the app traces by
    hand gets them, too, while its span is the current one.

    Args:
        documents: Each an id, or a mapping with `id` and, if known, `score` and `content`.

    Returns:
        Whether they were noted: there is a block, or the current span is that of a model call.

    Raises:
        InvalidContext: A document breaks its rule. Nothing else is ever raised.
    """
    checked = never_raise(_checked, documents)  # mappings may be of the app's own classes
    if checked is None:
        raise InvalidContext("documents", documents, DOCUMENTS_RULE)
    context = otel_context.get_current()
    entry = entry_of(context)
    span = trace.get_current_span(context)
    is_call = peer_of(span) is not None
    if entry is None and not is_call:
        return False
    if entry is None:
        entry = Entry(None, Said(), None, None)
        context = with_entry(context, entry)
    entry.note(checked)
    if is_call:
        never_raise(apply_to, span, context)
    return True


def _checked(documents: Any) -> list[Document] | None:
    if not isinstance(documents, (list, tuple)) or len(cast("list[Any]", documents)) > DOCUMENT_LIMIT:
        return None
    checked = [_document(one) for one in cast("list[Any]", documents)]
    return None if None in checked else [one for one in checked if one is not None]


def _document(given: Any) -> Document | None:
    fields = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {"id": given}
    document_id = _id(fields.get("id"))
    score: Any = fields.get("score")
    content: Any = fields.get("content")
    is_score = score is None or (_is_number(score) and math.isfinite(score))
    if document_id is None or not is_score or not (content is None or isinstance(content, str)):
        return None
    return Document(document_id, None if score is None else float(score), content)


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = str.__str__(value) if isinstance(value, str) else ""
    return text if len(text) <= ID_LIMIT_CHARACTERS and text.isprintable() and text.strip() else None


def _is_number(value: Any) -> bool:
    """Whether it is a number; NumPy's floats are floats, and a bool counts as none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
