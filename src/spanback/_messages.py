"""The conventions' message parts, as types, after the JSON schemas gen-ai-input-messages and its siblings."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Union


class TextPart(TypedDict):
    """Plain text."""

    type: Literal["text"]
    content: str


class ReasoningPart(TypedDict):
    """What a model thought before it answered."""

    type: Literal["reasoning"]
    content: str


class ToolCallPart(TypedDict):
    """A tool that the model asks for; arguments as the model gave them."""

    type: Literal["tool_call"]
    id: str | None
    name: str
    arguments: Any


class ToolCallResponsePart(TypedDict):
    """What a tool answered."""

    type: Literal["tool_call_response"]
    id: str | None
    response: Any


class ServerToolCallPart(TypedDict):
    """A tool that the provider runs itself; inside, its own type and what the provider says."""

    type: Literal["server_tool_call"]
    id: str | None
    name: str
    server_tool_call: Any


class ServerToolCallResponsePart(TypedDict):
    """What a tool that the provider runs itself answered; inside, its own type."""

    type: Literal["server_tool_call_response"]
    id: str | None
    server_tool_call_response: Any


class BlobPart(TypedDict):
    """Media sent inline; its base64 content is never kept, only how long it was."""

    type: Literal["blob"]
    modality: str
    mime_type: str | None
    content: str


class FilePart(TypedDict):
    """A file the provider holds."""

    type: Literal["file"]
    modality: str
    file_id: str


class UriPart(TypedDict):
    """Media by address."""

    type: Literal["uri"]
    modality: str
    uri: str


class GenericPart(TypedDict, total=False):
    """A part of a kind that the conventions do not name, by the provider's own type."""

    type: str
    content: Any


Part = Union[  # noqa: UP007 - evaluated at run time, where Python 3.10 joins no TypedDicts by `|`
    TextPart,
    ReasoningPart,
    ToolCallPart,
    ToolCallResponsePart,
    ServerToolCallPart,
    ServerToolCallResponsePart,
    BlobPart,
    FilePart,
    UriPart,
    GenericPart,
]


class _Named(TypedDict, total=False):
    name: str


class Message(_Named):
    """One message given to a model."""

    role: str
    parts: list[Part]


class OutputMessage(Message):
    """One message that a model gave."""

    finish_reason: str


class ToolDefinition(TypedDict):
    """A tool that the model may ask for."""

    type: str
    name: str
