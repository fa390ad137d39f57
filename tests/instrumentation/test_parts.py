"""Parts of messages, and the limits on what is kept of them."""

from __future__ import annotations

import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from spanback.instrumentation._content import Clipper, to_json
from spanback.instrumentation.providers import _chat, _responses
from tests.instrumentation.test_content import clip

BASE64 = "QUJD" * 100
LEFT_OUT = "[400 characters of base64 left out]"


def test_chunks_of_other_providers() -> None:
    """Chunks may lack an index, and hold text and a tool call at once, with arguments that are no text."""

    def chunk(**choice: Any) -> Any:
        return SimpleNamespace(choices=[SimpleNamespace(**choice)])

    function = SimpleNamespace(name="get_weather", arguments={"city": "Rome"})
    call = SimpleNamespace(index=None, id="c", function=function)
    chunks = _chat.ChatChunks(with_content=True)
    chunks.add([chunk(delta=SimpleNamespace(content="Let me see.", tool_calls=[call]))])
    chunks.add([chunk(index=None, delta=None, finish_reason="tool_calls"), SimpleNamespace(choices=None)])
    assert _chat.read_output(chunks.response(), clip)["gen_ai.output.messages"] == [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "Let me see."},
                {"type": "tool_call", "id": "c", "name": "get_weather", "arguments": ""},
            ],
            "finish_reason": "tool_calls",
        }
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "refusal", "refusal": "no"}, {"type": "refusal", "content": "no"}),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": LEFT_OUT},
        ),
        (
            {"type": "input_image", "image_url": f"data:;base64,{BASE64}"},
            {"type": "blob", "modality": "image", "mime_type": None, "content": LEFT_OUT},
        ),
        (
            {"type": "input_image", "image_url": f"data:{BASE64}"},
            {"type": "blob", "modality": "image", "mime_type": None, "content": "[405 characters of base64 left out]"},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            {"type": "uri", "modality": "image", "uri": "https://x.example/a.png"},
        ),
        ({"type": "input_image", "file_id": "file_1"}, {"type": "file", "modality": "image", "file_id": "file_1"}),
        (
            {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}},
            {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": LEFT_OUT},
        ),
        (
            {"type": "input_audio", "input_audio": None},
            {
                "type": "blob",
                "modality": "audio",
                "mime_type": "audio/unknown",
                "content": "[0 characters of base64 left out]",
            },
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{BASE64}", "filename": "a.pdf"}},
            {"type": "blob", "modality": "document", "mime_type": "application/pdf", "content": LEFT_OUT},
        ),
        (
            {"type": "input_file", "file_data": BASE64},
            {"type": "blob", "modality": "document", "mime_type": None, "content": LEFT_OUT},
        ),
        (
            {"type": "file", "file": {"file_id": "file_2"}},
            {"type": "file", "modality": "document", "file_id": "file_2"},
        ),
        (
            {"type": "input_file", "file_url": "https://x.example/a.pdf"},
            {"type": "uri", "modality": "document", "uri": "https://x.example/a.pdf"},
        ),
        ({"type": "hologram", "data": BASE64}, {"type": "hologram"}),
        ({}, {"type": "generic"}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_parts(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Media keeps its kind and size; its base64 is never kept."""
    assert _chat.part_of(part, clip) == expected


def test_rarer_items() -> None:
    """Custom tools, tool answers of several parts, and items without content."""
    custom = {"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}
    read = _chat.read_input({"messages": [{"tool_calls": [custom, {}]}, {"role": "tool"}]}, clip)
    assert read["gen_ai.input.messages"] == [
        {
            "role": "user",
            "parts": [
                {"type": "tool_call", "id": "c", "name": "run", "arguments": "ls"},
                {"type": "tool_call", "id": None, "name": "", "arguments": ""},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": None, "response": []}]},
    ]
    output = [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "ok"}]}, {}]
    read = _responses.read_input({"input": output}, clip)
    assert [message["parts"] for message in read["gen_ai.input.messages"]] == [
        [{"type": "tool_call_response", "id": "c", "response": [{"type": "text", "content": "ok"}]}],
        [],
    ]
    assert _responses.read_output({"output": None}, clip) == {}
    assert _chat.read_output({"choices": None}, clip) == {"gen_ai.output.messages": None}
    message = {"type": "message", "content": [{"type": "output_text", "text": "half"}]}
    (read,) = _responses.read_output({"output": [message]}, clip)["gen_ai.output.messages"]
    assert read["finish_reason"] == "error"


def test_four_megabytes_of_an_image_are_not_copied() -> None:
    """Reading a message with a data URL of 4 MB allocates next to nothing."""
    url = "data:image/jpeg;base64," + "A" * 4_000_000
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    _chat.read_input(body, clip)
    tracemalloc.start()
    _chat.read_input(body, clip)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000


@pytest.mark.parametrize(
    ("limit", "texts", "kept"),
    [
        (10, ["abc", "def"], ["abc", "def"]),
        (5, ["abc", "def", "ghi"], ["abc", "de[cut: 3 bytes]", "[cut: 3 bytes]"]),
        (3, ["äö"], ["ä[cut: 4 bytes]"]),
        (4, ["äö"], ["äö"]),
        (9, ["a\ud800"], ["a?"]),
        (1, ["a\ud800"], ["a[cut: 2 bytes]"]),
        (9, [{"a": 1}], ['{"a":1}']),
        (0, [""], [""]),
    ],
)
def test_limits(limit: int, texts: list[Any], kept: list[str]) -> None:
    """The texts of one call together stay within the limit, cut between characters."""
    clipper = Clipper(limit)
    assert [clipper(one) for one in texts] == kept


def test_json_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """What JSON does not know is named by its type, half a surrogate pair is escaped, and pydantic is not needed."""
    value = {"a": [1, object()], "b": "ü"}
    assert to_json(value) == '{"a":[1,"<object>"],"b":"ü"}'
    assert to_json({"a": "\ud800", "b": object()}) == '{"a":"\\ud800","b":"<object>"}'
    monkeypatch.delitem(__import__("sys").modules, "pydantic_core")
    assert json.loads(to_json(value)) == {"a": [1, "<object>"], "b": "ü"}
