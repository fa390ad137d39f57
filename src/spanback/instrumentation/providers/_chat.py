"""The chat completions format, which many providers speak: requests, responses, chunks and messages."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part, ToolDefinition
from spanback.instrumentation._adapter import EXTRA, Attributes, Body, Clip, member, members, text
from spanback.instrumentation._tables import Field, body_reader, response_reader

_finish_reason = attrgetter("finish_reason")
_TEXT = {str}
_SAME_IN_ALL_CHUNKS = ("id", "model", "service_tier", "system_fingerprint")
_NONE: Body = {}
_LONGEST_DATA_URL_HEAD = 256
_OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}


def texts(value: Any) -> tuple[str, ...] | None:
    """One or several texts; None for anything else."""
    found = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ()
    return tuple([one for one in map(text, found) if one]) or None


def output_type(output_format: Any) -> str | None:
    """`gen_ai.output.type` of a response format."""
    return _OUTPUT_TYPES.get(text(member(output_format, "type")) or "")


def speech(modalities: Any) -> str | None:
    """`gen_ai.output.type` where the modalities ask for audio."""
    return "speech" if isinstance(modalities, (list, tuple)) and "audio" in modalities else None


def choice_count(n: Any) -> int | None:
    """How many choices are asked for, where it is not one."""
    return n if type(n) is int and n != 1 else None


def service_tier(tier: Any) -> str | None:
    """The tier that is asked for, unless the provider is to choose."""
    asked = text(tier)
    return None if asked == "auto" else asked


read_request = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("top_k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("frequency_penalty", sc.GEN_AI_REQUEST_FREQUENCY_PENALTY, float),
    Field("presence_penalty", sc.GEN_AI_REQUEST_PRESENCE_PENALTY, float),
    Field("max_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("max_completion_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("seed", sc.GEN_AI_REQUEST_SEED, int),
    Field("n", sc.GEN_AI_REQUEST_CHOICE_COUNT, choice_count),
    Field("stop", sc.GEN_AI_REQUEST_STOP_SEQUENCES, texts),
    Field("modalities", sc.GEN_AI_OUTPUT_TYPE, speech),
    Field("response_format", sc.GEN_AI_OUTPUT_TYPE, output_type),
    Field("reasoning_effort", sc.GEN_AI_REQUEST_REASONING_LEVEL, str),
    Field("service_tier", sc.OPENAI_REQUEST_SERVICE_TIER, service_tier),
)
_read_response = response_reader(
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("service_tier", sc.OPENAI_RESPONSE_SERVICE_TIER, str),
    Field("system_fingerprint", sc.OPENAI_RESPONSE_SYSTEM_FINGERPRINT, str),
    Field("usage.prompt_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.completion_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage.prompt_tokens_details.cached_tokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage.prompt_tokens_details.audio_tokens", sc.GEN_AI_USAGE_AUDIO_INPUT_TOKENS, int, with_zero=False),
    Field("usage.completion_tokens_details.reasoning_tokens", sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, int),
    Field("usage.completion_tokens_details.audio_tokens", sc.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS, int, with_zero=False),
)


def read_response(response: Any) -> Attributes:
    """Attributes of a chat or text completion. Token counts are as the provider gave them; totals include the parts."""
    attributes = _read_response(response)
    try:
        reasons = tuple(map(_finish_reason, response.choices))
        is_plain = set(map(type, reasons)) == _TEXT and "".join(reasons).isascii() and all(reasons)
    except (AttributeError, TypeError):  # a dict, or no choices
        reasons, is_plain = tuple(member(choice, "finish_reason") for choice in members(response, "choices")), False
    if not is_plain:
        reasons = tuple(reason for reason in map(text, reasons) if reason)
    if reasons:
        attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    return attributes


class ChatChunks:
    """Folds chunks of chat or text completions. Without content it keeps the few fields that attributes need.

    Attributes:
        last: The last chunk so far.
    """

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._whole = SimpleNamespace(
            id=None, model=None, service_tier=None, system_fingerprint=None, usage=None, choices=[]
        )
        self._choices: dict[int, SimpleNamespace] = {}
        self.last: Any = None

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks. The last value of a field counts; texts are joined."""
        whole, with_content = self._whole, self._with_content
        for chunk in chunks if with_content else _telling(chunks):
            # Looked up where pydantic keeps what is there: to say that something is not there takes it long.
            own = getattr(chunk, "__dict__", _NONE)
            usage = own["usage"] if "usage" in own else (getattr(chunk, EXTRA, None) or _NONE).get("usage")
            if usage is not None:
                whole.usage = usage
            for choice in own.get("choices") or ():
                own = getattr(choice, "__dict__", _NONE)
                if "finish_reason" not in own:
                    own = getattr(choice, EXTRA, None) or _NONE
                reason = own.get("finish_reason")
                if reason or with_content:
                    self._add_choice(choice)
        self.last = chunks[-1]
        if whole.model is None or whole.id is None:
            self._note_same(chunks[0])

    def usage(self, usage: Any) -> None:
        """Takes the token counts, where they stand in a place of the provider's own."""
        self._whole.usage = usage

    def response(self) -> Any:
        """The completion so far."""
        self._note_same(self.last)
        self._whole.choices = [self._choices[index] for index in sorted(self._choices)]
        return self._whole

    def _note_same(self, chunk: Any) -> None:
        """Takes what all chunks say alike, save those of Azure that tell of the prompt's filters alone."""
        for name in _SAME_IN_ALL_CHUNKS:
            value = getattr(chunk, name, None)
            if value:
                setattr(self._whole, name, value)

    def _add_choice(self, choice: Any) -> None:
        """Takes one choice of a chunk. Runs for every chunk when content is wanted, so it calls nothing it need not."""
        index = getattr(choice, "index", None)
        if type(index) is not int:
            index = 0
        kept = self._choices.get(index)
        if kept is None:
            kept = self._choices[index] = new_choice()
        kept.finish_reason = getattr(choice, "finish_reason", None) or kept.finish_reason
        if not self._with_content:
            return
        delta = getattr(choice, "delta", None)
        piece = getattr(choice, "text", None) if delta is None else getattr(delta, "content", None)
        if piece and isinstance(piece, str):
            kept.text.append(piece)
            if getattr(delta, "tool_calls", None) or getattr(delta, "refusal", None):
                _add_rarer(kept, delta)
        elif delta is not None:
            _add_rarer(kept, delta)


def _telling(chunks: list[Any]) -> list[Any]:
    """The chunks that hold token counts or a reason why a choice has ended: of most streams the last one or two."""
    found: list[Any] = []
    try:
        for chunk in chunks:
            own = chunk.__dict__
            if own["usage"] is not None:
                found.append(chunk)
                continue
            for choice in own["choices"]:
                if choice.__dict__["finish_reason"]:
                    found.append(chunk)
                    break
    except KeyError:
        return _telling_by_extras(chunks)
    except (AttributeError, TypeError):  # of a client that keeps them in another way
        return chunks
    return found


def _telling_by_extras(chunks: list[Any]) -> list[Any]:
    """As `_telling`, of models that keep fields with those that no class names, as LiteLLM's do."""
    found: list[Any] = []
    try:
        for chunk in chunks:
            own = chunk.__dict__
            usage = own["usage"] if "usage" in own else (getattr(chunk, EXTRA) or _NONE).get("usage")
            if usage is not None:
                found.append(chunk)
                continue
            for choice in own["choices"]:
                own = choice.__dict__
                own = own if "finish_reason" in own else getattr(choice, EXTRA) or _NONE
                if own.get("finish_reason"):
                    found.append(chunk)
                    break
    except (AttributeError, KeyError, TypeError):
        return chunks
    return found


def new_choice() -> SimpleNamespace:
    """A choice of which no chunk has come."""
    return SimpleNamespace(finish_reason=None, text=[], reasoning=[], refusal=[], tool_calls={}, delta=None)


def _add_rarer(kept: SimpleNamespace, delta: Any) -> None:
    """Takes what stands in few deltas, most of which have no text: a piece of reasoning, of a refusal or of a call."""
    if reasoning := reasoning_of(delta):
        kept.reasoning.append(reasoning)
    if text(member(delta, "refusal")):
        kept.refusal.append(member(delta, "refusal"))
    for call in members(delta, "tool_calls"):
        function = member(call, "function")
        known = kept.tool_calls.setdefault(member(call, "index"), {"id": None, "name": "", "arguments": []})
        known["id"] = member(call, "id") or known["id"]
        known["name"] = member(function, "name") or known["name"]
        known["arguments"].append(text(member(function, "arguments")) or "")


def read_input(body: Body, clip: Clip) -> Attributes:
    """The conversation so far and the tools on offer, as the conventions shape them."""
    messages: list[Message] = []
    for message in members(body, "messages"):
        shaped = Message(role=text(member(message, "role")) or "user", parts=list(_parts(message, clip)))
        name = text(member(message, "name"))
        if name:
            shaped["name"] = name
        messages.append(shaped)
    return {sc.GEN_AI_INPUT_MESSAGES: messages or None, sc.GEN_AI_TOOL_DEFINITIONS: tool_definitions(body)}


def read_prompt(body: Body, clip: Clip) -> Attributes:
    """The prompts of a request for text completions, each a message of a user."""
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt if isinstance(prompt, list) else []
    texts = [one for one in prompts if isinstance(one, str)]
    messages = [Message(role="user", parts=[{"type": "text", "content": clip(one)}]) for one in texts]
    return {sc.GEN_AI_INPUT_MESSAGES: messages or None}


def read_output(response: Any, clip: Clip) -> Attributes:
    """The model's messages, one a choice."""
    messages: list[OutputMessage] = []
    for choice in members(response, "choices"):
        message = member(choice, "message")
        parts = list(_parts(message if message is not None else _folded(choice), clip))
        reason = text(member(choice, "finish_reason")) or "error"
        messages.append(OutputMessage(role="assistant", parts=parts, finish_reason=reason))
    return {sc.GEN_AI_OUTPUT_MESSAGES: messages or None}


def tool_definitions(body: Body) -> list[ToolDefinition] | None:
    """Type and name of each tool that a request offers."""
    tools: list[ToolDefinition] = []
    for tool in members(body, "tools"):
        kind = text(member(tool, "type")) or "function"
        name = text(member(member(tool, "function"), "name")) or text(member(tool, "name")) or kind
        tools.append(ToolDefinition(type=kind, name=name))
    return tools or None


def reasoning_of(message: Any) -> str | None:
    """What a model thought, as the providers name it that tell it beside the answer."""
    return text(member(message, "reasoning")) or text(member(message, "reasoning_content"))


def _folded(choice: Any) -> dict[str, Any]:
    """The message of a choice that `ChatChunks` or the text completions format made."""
    pieces = member(choice, "text")
    calls = member(choice, "tool_calls") or {}
    return {
        "reasoning": "".join(member(choice, "reasoning") or ()),
        "content": "".join(pieces or ()),
        "refusal": "".join(member(choice, "refusal") or ()),
        "tool_calls": [
            {"id": call["id"], "function": {"name": call["name"], "arguments": "".join(call["arguments"])}}
            for call in calls.values()
        ],
    }


def _parts(message: Any, clip: Clip) -> Iterator[Part]:
    content = member(message, "content")
    if text(member(message, "role")) == "tool":
        response = clip(content) if isinstance(content, str) else [part_of(one, clip) for one in content or ()]
        yield {"type": "tool_call_response", "id": text(member(message, "tool_call_id")), "response": response}
        return
    reasoning = reasoning_of(message)
    if reasoning:
        yield {"type": "reasoning", "content": clip(reasoning)}
    if text(content):
        yield {"type": "text", "content": clip(content)}
    elif isinstance(content, (list, tuple)):
        for one in content:
            yield part_of(one, clip)
    refusal = text(member(message, "refusal"))
    if refusal:
        yield {"type": "refusal", "content": clip(refusal)}
    for call in members(message, "tool_calls"):
        function = member(call, "function") or member(call, "custom")
        arguments = member(function, "arguments") or member(function, "input") or ""
        yield {
            "type": "tool_call",
            "id": text(member(call, "id")),
            "name": text(member(function, "name")) or "",
            "arguments": clip(arguments),
        }


def part_of(part: Any, clip: Clip) -> Part:
    """One part of a message's content; media keeps its kind and size, never its base64."""
    kind = text(member(part, "type")) or "generic"
    if kind in {"text", "input_text", "output_text"}:
        return {"type": "text", "content": clip(member(part, "text") or "")}
    if kind == "refusal":
        return {"type": "refusal", "content": clip(member(part, "refusal") or "")}
    if kind in {"image_url", "input_image"}:
        image = member(part, "image_url")
        address = image if isinstance(image, str) else member(image, "url")
        return media("image", address, member(part, "file_id"), clip)
    if kind == "video_url":
        return media("video", member(member(part, "video_url"), "url"), None, clip)
    if kind == "input_audio":
        audio = member(part, "input_audio")
        if isinstance(audio, str):
            return media("audio", audio, None, clip) if ":" in audio[:8] else blob("audio", None, len(audio))
        data = member(audio, "data")
        return blob("audio", f"audio/{text(member(audio, 'format')) or 'unknown'}", len(data) if text(data) else 0)
    if kind == "document_url":
        return media("document", member(part, "document_url"), None, clip)
    if kind == "thinking":
        return {"type": "reasoning", "content": clip(thought_of(part))}
    if kind in {"file", "input_file"}:
        return document(member(part, "file") or part, clip)
    return {"type": kind}


def thought_of(part: Any) -> str:
    """What a model thought, in the pieces of a part of its message."""
    return "".join(text(member(piece, "text")) or "" for piece in members(part, "thinking"))


def document(file: Any, clip: Clip) -> Part:
    """A file by id, by address, or inline as a data URL or as nothing but base64."""
    data = text(member(file, "file_data"))
    if data and not data.startswith("data:"):
        return blob("document", None, len(data))
    return media("document", data or member(file, "file_url"), member(file, "file_id"), clip)


def media(modality: str, address: Any, file_id: Any, clip: Clip) -> Part:
    """Media by file id, by data URL (elided, and never copied whole) or by address."""
    if text(file_id):
        return {"type": "file", "modality": modality, "file_id": clip(file_id)}
    url = text(address) or ""
    if not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": clip(url)}
    comma = url.find(",", 0, _LONGEST_DATA_URL_HEAD)
    mime_type = url[5 : max(comma, 5)].partition(";")[0]
    return blob(modality, clip(mime_type) or None, len(url) - comma - 1)


def blob(modality: str, mime_type: str | None, size: int) -> Part:
    """Media sent inline: what it was and how many characters of base64, without them."""
    content = f"[{size} characters of base64 left out]"
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "content": content}
