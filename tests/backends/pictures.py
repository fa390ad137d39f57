"""Draws how feedback looks in Jaeger and Tempo, from what their APIs answer.

    python -m tests.backends.pictures docs

The servers of the tests have no pages of their own, so these are no screenshots: every line is from an answer.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.backends.giving import run_app
from tests.backends.loopback import get_json
from tests.backends.servers import Jaeger, Tempo, eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.backends.giving import Told

SERVICE = "travel-assistant"
WIDTH, LINE, LEFT, BAR_LEFT = 960, 20, 24, 330
UP, DOWN = 0, 1
TRACEQL = "{ span.feedback.score < 0.0 } | select(span.feedback.name, span.feedback.score, span.feedback.comment)"


class Sheet:
    """A picture that grows downwards, line by line."""

    def __init__(self, title: str) -> None:
        self._y = 16
        self._parts: list[str] = []
        self.text(title, weight="bold", size=15)
        self._y += 6

    def text(self, text: str, x: int = LEFT, *, weight: str = "normal", size: int = 12, fill: str = "#24292f") -> None:
        """A line of text."""
        self._y += LINE
        self._put(x, text, weight, size, fill)

    def heading(self, text: str) -> None:
        """A line that says what the lines below are."""
        self._y += 8
        self.text(text, weight="bold", fill="#57606a")

    def pairs(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values, one below the other."""
        for name, value in pairs:
            self.text(name, LEFT + 12, fill="#0550ae")
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            self._put(BAR_LEFT + 20, shown, "normal", 12, "#24292f")

    def columns(self, cells: Sequence[object], xs: Sequence[int], *, weight: str = "normal") -> None:
        """A row of a table."""
        self._y += LINE
        for x, cell in zip(xs, cells, strict=True):
            self._put(x, str(cell), weight, 12, "#24292f")

    def bar(self, label: str, begin: float, length: float, note: str, fill: str, *, indent: int = 0) -> None:
        """A span in a waterfall; begin and length are shares of the whole."""
        self.text(label, LEFT + 12 + 16 * indent)
        room = WIDTH - BAR_LEFT - 150
        x, width = BAR_LEFT + begin * room, max(length * room, 3)
        self._parts.append(f'<rect x="{x:.0f}" y="{self._y - 11}" width="{width:.0f}" height="13" fill="{fill}"/>')
        self._put(int(x + width) + 6, note, "normal", 11, "#57606a")

    def svg(self) -> str:
        """The picture."""
        height = self._y + 24
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace">\n'
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d7de"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )

    def _put(self, x: int, text: str, weight: str, size: int, fill: str) -> None:
        style = f'font-size="{size}" font-weight="{weight}" fill="{fill}"'
        self._parts.append(f'<text x="{x}" y="{self._y}" {style} xml:space="preserve">{escape(text)}</text>')


def jaeger_picture(answer: dict[str, Any]) -> str:
    """A trace with a call and its feedback, as `/api/traces/<id>` answers.

    Args:
        answer: The answer.
    """
    (trace,) = answer["data"]
    spans = sorted(trace["spans"], key=lambda span: span["startTime"])
    begin = spans[0]["startTime"]
    whole = max(span["startTime"] + span["duration"] for span in spans) - begin
    names = {span["spanID"]: span["operationName"] for span in spans}
    sheet = Sheet(f"Jaeger: trace {trace['traceID'][:7]}, {len(spans)} spans")
    for span in spans:
        fill, indent = ("#8250df", 1) if span["operationName"].startswith("feedback") else ("#2da44e", 0)
        start, share = (span["startTime"] - begin) / whole, span["duration"] / whole
        sheet.bar(span["operationName"], start, share, f"{span['duration']:,} us", fill, indent=indent)
    carrier = next(span for span in spans if span["operationName"].startswith("feedback"))
    sheet.heading(f"{carrier['operationName']}: Tags")
    sheet.pairs((tag["key"], tag["value"]) for tag in carrier["tags"] if "." in tag["key"] and "otel" not in tag["key"])
    for log in carrier["logs"]:
        sheet.heading("Logs")
        sheet.pairs((field["key"], field["value"]) for field in log["fields"])
    sheet.heading("References")
    sheet.pairs((one["refType"], f"{names[one['spanID']]}  (span {one['spanID']})") for one in carrier["references"])
    return sheet.svg()


def tempo_picture(found: Sequence[dict[str, Any]], span: Any) -> str:
    """What a search finds, and one of the spans found.

    Args:
        found: The selected attributes of each match, with its ids.
        span: The span, as read from the trace.
    """
    sheet = Sheet("Tempo: search")
    sheet.text(TRACEQL, fill="#0550ae")
    xs, names = (LEFT + 12, 150, 300, 450), ("feedback.name", "feedback.score", "feedback.comment")
    sheet.columns(("Trace", *names), xs, weight="bold")
    for one in found:
        sheet.columns((one["trace_id"][:7], *(one.get(name, "") for name in names)), xs)
    sheet.heading(f"{span.name}: Attributes")
    sheet.pairs(sorted(span.attributes.items()))
    for event in span.events:
        sheet.heading(f"Event {event.name}")
        sheet.pairs(sorted(event.attributes.items()))
    for link in span.links:
        sheet.heading("Link")
        sheet.pairs([("trace", link.trace_id), ("span", link.span_id), *link.attributes.items()])
    return sheet.svg()


def draw(jaeger: Jaeger, tempo: Tempo) -> dict[str, str]:
    """The pictures by their names, of an app that runs now."""
    in_jaeger = run_app(jaeger, "grpc", SERVICE, "rated").signals
    in_tempo = run_app(tempo, "grpc", SERVICE, "rated").signals
    url = f"{jaeger.query_url}/api/traces/{in_jaeger[UP].trace_id}"
    answer = eventually(lambda: whole if len((whole := get_json(url))["data"][0]["spans"]) == 2 else None)
    return {"jaeger.svg": jaeger_picture(answer), "tempo.svg": _in_tempo(tempo, in_tempo)}


def _in_tempo(tempo: Tempo, told: list[Told]) -> str:
    ours = {one.span_id for one in told}

    def search() -> list[dict[str, Any]] | None:
        matches = [match for match in tempo.search(TRACEQL, limit=5_000) if match.span_id in ours]
        rows = [{"trace_id": one.trace_id, **one.attributes} for one in matches]
        rows.sort(key=lambda row: row["feedback.score"])
        return rows if len(rows) == 2 else None

    found = eventually(search)
    (span,) = tempo.trace(told[DOWN].trace_id)
    return tempo_picture(found, span)


def main(folder: Path) -> None:
    """Writes the pictures into a folder."""
    with Jaeger() as jaeger, Tempo() as tempo:
        for name, svg in draw(jaeger, tempo).items():
            (folder / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
