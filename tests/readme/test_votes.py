"""The README's sections about votes, preferences, batches, declarations, privacy and what is refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from spanback.demo._loopback import LoopbackServer
from tests.feedback.bad_input import table
from tests.test_readme import README, environment, run

PRELUDE = """
import openai
import spanback
from spanback import signals

spanback.instrument(capture_content=True)
client = openai.OpenAI()
first, second, third = (
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Where?"}])
    for _ in range(3)
)
"""


@pytest.fixture(scope="module")
def server():
    """A server that speaks OpenAI's wire format."""
    with LoopbackServer() as running:
        yield running


def test_the_snippets_print_what_the_text_says(server: LoopbackServer, tmp_path: Path) -> None:
    """They run as they stand, one after another, and what they record is in the files."""
    script = PRELUDE + "\n".join(re.findall(r"^```python votes\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    printed = run([sys.executable, "-c", script], tmp_path, environment(server, SPANBACK_FILE="telemetry/"))
    assert printed.splitlines() == [
        "True",
        "user_thumbs -1.0 explicit",
        "copied 1.0 implicit",
        str(1 - 2 * 4 / 29),
        "2 of 4 items cannot be recorded, so none was:",
        "  item 2: rating=9 must be a finite number within the scale, and no bool",
        "  item 3: name='Stars' must be 1 to 64 characters out of a-z, 0-9, '_', '.' and '-'",
        "recorded",
        "refused",
        "recorded",
    ]
    lines = (tmp_path / "telemetry" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    spans = [
        {one["key"]: one["value"] for one in span["attributes"]}
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["name"].startswith("feedback ")
    ]
    said = [(span["feedback.name"]["stringValue"], span["feedback.action"]["stringValue"]) for span in spans]
    assert said == [
        *[("user_thumbs", "set")] * 2,
        *[("user_thumbs", "retract")] * 2,
        *[("regenerated", "set"), ("preference", "set")],
        *[("preference", "set")] * 3,
        *[("helpfulness", "set"), ("user_feedback", "set")],
    ]
    assert spans[-1]["feedback.comment"] == {"stringValue": "Write to [mail]"}
    assert {span["feedback.id"]["stringValue"] for span in spans[:4]} == {spans[0]["feedback.id"]["stringValue"]}


def test_the_table_of_what_is_refused_is_what_happens() -> None:
    """Each call of the table is made, and is refused with the message beside it."""
    shown = README.partition("<!-- bad input -->\n")[2].partition("\n<!-- /bad input -->")[0]
    assert shown == table(), "python -m tests.feedback.bad_input prints what belongs there"
