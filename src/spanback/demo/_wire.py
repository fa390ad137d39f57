"""What the endpoints of the loopback server share: the call they answer, the behaviours, and server-sent events."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spanback.demo._answers import Json, example_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CREATED: Final = 1_763_700_000
"""Every answer's time of creation, in seconds since the epoch: fixed, so that runs can be compared."""

FINGERPRINT: Final = "fp_5pan6ac501"

_BEHAVIOURS: Final = re.compile(
    r"error-\d{3}|flaky|drop|html|not-json|slow|slow-\d+|slow-stream|slow-stream-\d+|broken-stream|error-in-stream|"
    r"empty-stream|many-chunks-\d+|no-choices|no-usage|content-null|refusal|failed-response|incomplete-response"
)
_MARK: Final = re.compile(r"\[\[([a-z0-9-]+)\]\]")
_NUMBER: Final = re.compile(r"(.*?)-(\d+)")
_REASONING_MODELS: Final = ("o1", "o3", "o4", "gpt-5")
_DATED: Final = re.compile(r".*-\d{4}-\d{2}-\d{2}")


class Behaviour(NamedTuple):
    """What a request forces: a name of the table in `_loopback`, and the number at its end."""

    name: str = ""
    number: int | None = None

    @classmethod
    def chosen_by(cls, model: str, question: str, default: str = "") -> Behaviour:
        """Reads the model's name, then a `[[mark]]` in the question, then the default."""
        mark = _MARK.search(question)
        for name in (model, mark.group(1) if mark else "", default):
            if _BEHAVIOURS.fullmatch(name):
                numbered = _NUMBER.fullmatch(name)
                return cls(numbered.group(1), int(numbered.group(2))) if numbered else cls(name)
        return cls()


@dataclass(frozen=True)
class Call:
    """One request to an endpoint that answers with a model.

    Attributes:
        body: The request's JSON body.
        number: Which call of this server it is, from 1; ids are made of it.
        model: The model that the body, or Azure's path, names.
        question: The text of the user's last message.
        text: What the scripted model answers.
        behaviour: What the request forces.
    """

    body: Json
    number: int
    model: str
    question: str
    text: str
    behaviour: Behaviour

    @property
    def response_model(self) -> str:
        """The model with its date, as the provider answers it."""
        if _DATED.fullmatch(self.model):
            return self.model
        return f"{self.model}-2024-07-18" if self.model == "gpt-4o-mini" else f"{self.model}-2025-01-01"

    @property
    def service_tier(self) -> str:
        """The tier that served the request: the one asked for, where it is one."""
        tier = self.body.get("service_tier")
        return "default" if tier in {None, "auto"} else str(tier)

    @property
    def reasoning_tokens(self) -> int:
        """How many tokens went into thinking: 16 for models that think, or when the request asks for it."""
        thinks = (
            self.model.startswith(_REASONING_MODELS) or self.body.get("reasoning_effort") or self.body.get("reasoning")
        )
        return 16 if thinks else 0

    def is_forced(self, *names: str) -> bool:
        """Whether the request forces one of these behaviours."""
        return self.behaviour.name in names


@dataclass(frozen=True)
class Reply:
    """What an endpoint answers: a JSON body, or the events of a stream.

    Attributes:
        body: The body, for a unary answer.
        events: The events of a stream, ready for the wire.
        stream_error: The event that `error-in-stream` sends in the midst of the stream.
        status: The HTTP status.
        headers: More headers.
    """

    body: Any = None
    events: Iterator[bytes] | None = None
    stream_error: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])


class ToolCall(NamedTuple):
    """A tool that the scripted model asks for."""

    id: str
    name: str
    arguments: str


def to_json(value: Any) -> str:
    """Compact JSON, as the provider sends it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def event(data: Any, name: str = "") -> bytes:
    """One server-sent event; with a name, as the Responses API has them."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {to_json(data)}\n\n".encode()


DONE: Final = b"data: [DONE]\n\n"


def error(status: int, message: str, code: str | None = None) -> Reply:
    """An error as OpenAI writes it, with the header that tells its clients not to try again."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    codes = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
    body = {"error": {"message": message, "type": kind, "param": None, "code": code or codes.get(status)}}
    return Reply(body=body, status=status, headers={"x-should-retry": "false"})


def asked_tools(call: Call, functions: list[Json]) -> list[ToolCall]:
    """The tools that the question asks for.

    A tool is called when `tool_choice` demands it (`required`, or its name), or when the question contains a word of
    four or more letters of its name: `get_weather` answers to "weather".

    Args:
        call: The request.
        functions: The tools' definitions with `name` and `parameters`.
    """
    choice: Any = call.body.get("tool_choice")
    if not functions or not call.question or choice == "none":
        return []
    if isinstance(choice, dict):
        wanted = choice.get("name") or choice.get("function", {}).get("name")
        chosen = [function for function in functions if function["name"] == wanted]
    else:
        question = call.question.lower()
        chosen = [function for function in functions if _is_named_in(question, str(function["name"]))]
        chosen = chosen or (functions[:1] if choice == "required" else [])
    return [
        ToolCall(
            f"call_{call.number:06d}_{index}", function["name"], to_json(example_of(function.get("parameters") or {}))
        )
        for index, function in enumerate(chosen)
    ]


def _is_named_in(question: str, name: str) -> bool:
    return any(len(word) >= 4 and word in question for word in re.split(r"[^a-z0-9]+", name.lower()))
