"""What holds in a block of `spanback.context()`, and where it stands.

It stands in OpenTelemetry's context, which the engine looks into for each call anyway: an app that says nothing pays
for one look-up in a dict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from spanback import semconv
from spanback._people import keyed_hash

TAG_LIMIT: Final = 32
DOCUMENT_LIMIT: Final = 100

Belonging = tuple["str | None", "str | None", "str | None", tuple[str, ...], "str | None", "str | None"]
"""Prompt name, prompt version, conversation id, tags, experiment, variant: what feedback on a call copies."""

_ENTRY: Final = otel_context.create_key("spanback-context")


class Document(NamedTuple):
    """A document that was retrieved."""

    id: str
    score: float | None
    content: str | None


class Said(NamedTuple):
    """What an app has said, with what it had said around that."""

    prompt_name: str | None = None
    prompt_version: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] = ()
    experiment: str | None = None
    variant: str | None = None

    def within(self, outer: Said) -> Said:
        """What holds inside of both: tags add up, all else replaces. A version belongs to its prompt, and so on."""
        tags = tuple(dict.fromkeys((*outer.tags, *self.tags)))
        prompt, experiment = self if self.prompt_name else outer, self if self.experiment else outer
        return Said(
            prompt.prompt_name,
            prompt.prompt_version,
            self.conversation_id or outer.conversation_id,
            self.user_id or outer.user_id,
            tags[-TAG_LIMIT:],
            experiment.experiment,
            experiment.variant,
        )


class Entry:
    """What holds in one block that an app has entered.

    Attributes:
        said: What the app has said there and around.
        outer: What holds around.
        owner: Whose block it is.
        before: The context that was current before; None where the block is entered step by step.
    """

    __slots__ = ("_documents", "_hash", "before", "outer", "owner", "said")

    def __init__(self, owner: object, said: Said, outer: Entry | None, before: Context | None) -> None:
        self.said = said if outer is None else said.within(outer.said)
        self.outer = outer
        self.owner = owner
        self.before = before
        self._documents: dict[str, Document] = {}
        self._hash: tuple[bytes, str] | None = None

    def over(self, asked: Sequence[Any]) -> Belonging:
        """What a call belongs to: what the app says goes before what the request says.

        Args:
            asked: What the request says; its first three are those of `Belonging`.
        """
        said = self.said
        is_said = said.prompt_name is not None
        name, version = (said.prompt_name, said.prompt_version) if is_said else (asked[0], asked[1])
        return (name, version, said.conversation_id or asked[2], said.tags, said.experiment, said.variant)

    def attributes(self, key: bytes | None) -> dict[str, Any]:
        """The attributes of a model call's span, those not said left out; the user only where there is a key."""
        said = self.said
        values = (
            said.prompt_name,
            said.prompt_version,
            said.conversation_id,
            said.experiment,
            said.variant,
            said.tags,
            self._user_hash(said.user_id, key),
        )
        return {name: value for name, value in zip(_NAMES, values, strict=True) if value}

    def note(self, documents: Iterable[Document]) -> None:
        """Keeps documents, the last that were noted; one of a known id replaces it."""
        noted = self._documents
        noted.update((one.id, one) for one in documents)
        while len(noted) > DOCUMENT_LIMIT:
            noted.pop(next(iter(noted)), None)

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents that were noted here and around."""
        entries: list[Entry] = []
        entry: Entry | None = self
        while entry is not None:  # no recursion: an agent that calls itself nests blocks as deep as its stack goes
            entries.append(entry)
            entry = entry.outer
        found: dict[str, Document] = {}
        for one in reversed(entries):
            found.update(one._documents)  # noqa: SLF001 - of its own class
            for _ in range(len(found) - DOCUMENT_LIMIT):
                del found[next(iter(found))]
        return tuple(found.values())

    def _user_hash(self, user_id: str | None, key: bytes | None) -> str | None:
        if user_id is None or key is None:
            return None
        if self._hash is None or self._hash[0] != key:
            self._hash = (key, keyed_hash(user_id, key))
        return self._hash[1]


_NAMES: Final = (
    semconv.GEN_AI_PROMPT_NAME,
    semconv.GEN_AI_PROMPT_VERSION,
    semconv.GEN_AI_CONVERSATION_ID,
    semconv.FEATURE_FLAG_KEY,
    semconv.FEATURE_FLAG_RESULT_VARIANT,
    semconv.TAGS,
    semconv.USER_HASH,
)


def entry_of(context: Context) -> Entry | None:
    """What holds in an OpenTelemetry context. Never raises."""
    found: Any = context.get(_ENTRY)  # `cast` is a call
    return found


def with_entry(context: Context, entry: Entry) -> Context:
    """A context in which something holds."""
    return otel_context.set_value(_ENTRY, entry, context)


def current_user_id() -> str | None:
    """The user that the current block names, or None. Never raises."""
    entry = entry_of(otel_context.get_current())
    return None if entry is None else entry.said.user_id
