"""Draws rated calls as a tree, and the summary beneath. Needs rich."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from spanback.reading import Call, Feedback, ModelSummary, RatedCall

SHOWN_CHARACTERS: Final = 200
"""Longer questions, answers and improvements are shortened."""

ABSENT_HEADING: Final = "Feedback on calls that are not in these files"

_PIPE_COLUMNS: Final = 20_000
_COLOURS: Final = {"positive": "green", "neutral": "yellow", "negative": "red", None: "cyan"}
# What moves the cursor, changes colours or turns the direction of writing: telemetry may hold anything.
_CONTROL_POINTS: Final = (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS: Final = dict.fromkeys(_CONTROL_POINTS, "\ufffd")


class Symbols(NamedTuple):
    """One sign for each sentiment, and what stands where text was cut."""

    positive: str
    neutral: str
    negative: str
    unscored: str
    cut: str


_UNICODE: Final = Symbols("▲", "●", "▼", "✎", "…")
_ASCII: Final = Symbols("+", "o", "-", "*", "...")


class PipeConsole(Console):
    """A console for terminals and pipes: a pipe gets lines whole, and a closed one is told by BrokenPipeError."""

    def __init__(self) -> None:
        super().__init__(highlight=False)
        if not self.is_terminal:
            self.width = _PIPE_COLUMNS

    def on_broken_pipe(self) -> None:
        """Raises the BrokenPipeError that is being handled anew."""
        raise BrokenPipeError


def draw(console: Console, rated: RatedCall) -> None:
    """Prints a call with its signals."""
    symbols = _UNICODE if console.encoding.lower().startswith("utf") else _ASCII
    tree = Tree(_call_line(rated.call) if rated.call else _absent_line(rated))
    for label, text in _content(rated.call) if rated.call else ():
        tree.add(Text.assemble((f"{label} ", "dim"), _shown(text, symbols)))
    for signal in rated.feedback:
        branch = tree.add(_signal_line(signal, symbols))
        for detail in _details(signal, symbols):
            branch.add(detail)
    console.print(tree)


def draw_heading(console: Console) -> None:
    """Prints what stands above the feedback whose call is not in the files."""
    console.print(Text(f"\n{ABSENT_HEADING}", style="bold"))


def table_of(texts: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """A table of texts, then numbers. In a narrow terminal texts are folded, and numbers stay whole."""
    table = Table()
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", min_width=5)
    return table


def draw_summary(console: Console, summary: Sequence[ModelSummary]) -> None:
    """Prints a table with one line for each model and type of signal."""
    table = table_of(["model", "type"], ["calls rated", "signals", "negative", "mean score", "weighted mean"])
    for row in summary:
        counts = (str(row.calls), str(row.signals), str(row.negative))
        names = (_clean(row.model or "unknown"), _clean(row.type))
        table.add_row(*names, *counts, mean(row.mean_score), mean(row.weighted_mean_score))
    console.print(Text("\nBy model", style="bold"))
    console.print(table)


def _call_line(call: Call) -> Text:
    seconds = call.to_json()["start_time"].replace("T", " ")[:19]
    model = call.response_model or call.request_model or ""
    line = Text.assemble((f"{seconds}Z", "dim"), "  ", (_clean(f"{call.operation} {model}".rstrip()), "bold"))
    for text, style in (
        (_duration(call.duration_ns), ""),
        (_tokens(call), ""),
        (call.service_name, "dim"),
        (call.error_type and f"error {call.error_type}", "bold red"),
    ):
        if text:
            line.append("  ").append(_clean(text), style)
    return line


def _absent_line(rated: RatedCall) -> Text:
    dimensions = rated.feedback[0].dimensions
    if rated.span_id:
        target = f"span {rated.span_id} of trace {rated.trace_id}"
    elif response_id := dimensions.get("gen_ai.response.id"):
        target = f"response {response_id}"
    elif conversation_id := dimensions.get("gen_ai.conversation.id"):
        target = f"conversation {conversation_id}"
    else:
        target = "no target"
    model = dimensions.get("gen_ai.response.model") or dimensions.get("gen_ai.request.model")
    line = Text(_clean(target), style="bold")
    return line.append(f"  {_clean(model)}", "dim") if model else line


def _signal_line(signal: Feedback, symbols: Symbols) -> Text:
    colour = _COLOURS[signal.sentiment]
    symbol = getattr(symbols, signal.sentiment or "unscored")
    line = Text.assemble((f"{symbol} {_clean(signal.name)}", colour))
    if score := _score(signal):
        line.append(f"  {score}", f"bold {colour}")
    if signal.label:
        line.append(f"  {_clean(signal.label)}", "italic")
    return line.append(f"  weight {signal.weight:g}, {_clean(signal.source)}, {_clean(signal.type)}", "dim")


def _about(signal: Feedback) -> Iterator[tuple[str, str | None]]:
    """What exactly was judged, where it is not the whole response."""
    yield "criterion", signal.criterion
    yield "choice", None if signal.choice is None else str(signal.choice)
    yield "tool call", signal.tool_call_id
    yield "document", signal.document_id
    yield "better than", ", ".join(_others(signal))


def _others(signal: Feedback) -> Iterator[str]:
    """The rejected sides of a preference."""
    choices = (*signal.rejected_choices, *(-1,) * len(signal.rejected_span_ids))
    sides = zip(signal.rejected_span_ids, signal.rejected_response_ids, signal.rejected_models, choices, strict=False)
    for span_id, response_id, model, choice in sides:
        which = " ".join(filter(None, (response_id or span_id, model))) or "one that is not known"
        yield which if choice < 0 else f"choice {choice} of {which}"


def _details(signal: Feedback, symbols: Symbols) -> Iterator[Text]:
    for label, about in _about(signal):
        if about:
            yield Text.assemble((f"{label} ", "dim"), _shown(about, symbols))
    if signal.comment:
        yield Text.assemble(("comment ", "dim"), _clean(" ".join(signal.comment.split())))
    if signal.improvement is not None:
        given = signal.improvement
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        yield Text.assemble(("improvement ", "dim"), _shown(text, symbols))
    if signal.metadata:
        pairs = ", ".join(f"{key}={value}" for key, value in signal.metadata.items())
        yield Text.assemble(("metadata ", "dim"), _shown(pairs, symbols))
    if signal.observed_at:
        yield Text.assemble(("observed at ", "dim"), _clean(signal.observed_at))


def _score(signal: Feedback) -> str:
    """The score as it was given: `4 of 5` on a scale, else with its sign."""
    if signal.score_raw is not None and signal.score_max is not None:
        if signal.score_min in (None, 0.0, 1.0):
            return f"{signal.score_raw:g} of {signal.score_max:g}"
        return f"{signal.score_raw:g} in {signal.score_min:g}..{signal.score_max:g}"
    if signal.score is None:
        return ""
    return f"{signal.score:+g}" if signal.score else "0"


def _content(call: Call) -> Iterator[tuple[str, str]]:
    if question := _last_text(call.input_messages, "user"):
        yield "asked", question
    if answer := _last_text(call.output_messages, None):
        yield "answered", answer


def _last_text(messages: Any, role: str | None) -> str:
    """The text of the last message that has some; of a role, where one is asked for and present."""
    found = [
        (message.get("role"), text)
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict) and (text := _message_text(message))
    ]
    of_role = [text for its_role, text in found if its_role == role] or [text for _, text in found]
    return of_role[-1] if of_role else messages if isinstance(messages, str) else ""


def _message_text(message: dict[str, Any]) -> str:
    """The text parts of a message, and its tool calls as `name(arguments)`. Older forms have only `content`."""
    parts = message.get("parts", message.get("content"))
    texts: list[str] = []
    for part in parts if isinstance(parts, list) else [parts]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") == "tool_call":
            texts.append(f"{part.get('name')}({json.dumps(part.get('arguments'), ensure_ascii=False)})")
        elif isinstance(part, dict) and part.get("type") == "text":
            texts.append(str(part.get("content", part.get("text"))))
    return " ".join(texts)


def _duration(duration_ns: int) -> str:
    milliseconds = duration_ns / 1e6
    return f"{milliseconds:.3g} ms" if milliseconds < 999.5 else f"{milliseconds / 1e3:.1f} s"


def _tokens(call: Call) -> str | None:
    if call.input_tokens is not None and call.output_tokens is not None:
        return f"{call.input_tokens} -> {call.output_tokens} tokens"
    if call.input_tokens is not None:
        return f"{call.input_tokens} tokens in"
    return None if call.output_tokens is None else f"{call.output_tokens} tokens out"


def mean(value: float | None) -> str:
    """A mean with its sign and two digits; empty for none."""
    # Sums of the same numbers in another order differ in their last bits, which must not show.
    return "" if value is None else f"{round(value, 9) + 0.0:+.2f}"


def _shown(text: str, symbols: Symbols) -> str:
    """Text on one line, cut to `SHOWN_CHARACTERS`."""
    # A text of some MB need not be split whole for its first words.
    line = _clean(" ".join(text[: 4 * SHOWN_CHARACTERS].split()))
    whole = len(line) <= SHOWN_CHARACTERS and len(text) <= 4 * SHOWN_CHARACTERS
    return line if whole else line[:SHOWN_CHARACTERS] + symbols.cut


def _clean(text: str) -> str:
    return text.translate(_CONTROLS)
