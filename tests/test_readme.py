"""Every command, snippet and name in the README is tried."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

import spanback
from spanback import _settings, semconv
from spanback.demo._loopback import LoopbackServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVERS = {"django_app", "flask_app"}  # they serve until they are stopped, and are tried in tests/browser
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem not in SERVERS)


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def environment(server: LoopbackServer, **more: str) -> dict[str, str]:
    """What a user's shell would hold, with OpenAI's address pointing at the loopback server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    return {**kept, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "not-needed", **more}


def run(arguments: list[str], folder: Path, env: dict[str, str]) -> str:
    """Runs a command that must succeed and must not complain; gives what it printed."""
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def server():
    """A server that speaks OpenAI's wire format."""
    with LoopbackServer() as running:
        yield running


@pytest.fixture(scope="module")
def snippets(server, tmp_path_factory) -> tuple[Path, str]:
    """The folder in which all Python snippets of the README ran, one after another, and what they printed."""
    folder = tmp_path_factory.mktemp("readme")
    script = "\n".join(blocks("python"))
    return folder, run([sys.executable, "-c", script], folder, environment(server, SPANBACK_FILE="telemetry/"))


def test_python_snippets_print_what_the_text_around_them_says(snippets):
    """The snippets run as they stand, in order, and print what the README says."""
    printed = snippets[1].splitlines()
    assert printed[0] == "recorded"
    assert printed[1] == "score=5 must be a number from -1 to 1, and no bool"
    assert printed[2] == "1.0"
    assert len(printed) == 3


def test_commands_that_read_back_show_what_the_snippets_wrote(snippets, server):
    """Each `spanback show` command of the README finds the signals that the snippets gave."""
    folder, _ = snippets
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("spanback ")]
    assert commands == [
        "spanback show telemetry/",
        "spanback show telemetry/ --negative --since 7d",
        "spanback show telemetry/ --name user_thumbs --json",
    ]
    everything, negative, thumbs = (
        run([sys.executable, "-m", "spanback", *command.split()[1:]], folder, environment(server))
        for command in commands
    )
    assert "stars" in everything
    assert "4 of 5" in everything
    assert "Right!" in everything
    assert "user_thumbs" in negative
    rated = json.loads(thumbs)
    assert sorted(one["score"] for one in rated["feedback"] if one["name"] == "user_thumbs") == [-1.0, 1.0]


def test_the_two_commands_are_one_line_each():
    """The README's first command shows the demo, its second runs the tests."""
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("python3 ")]
    assert [command.rpartition("&& ")[2] for command in commands] == [".venv/bin/spanback demo", ".venv/bin/pytest"]


def test_every_attribute_named_is_one_that_is_written():
    """The README names no attribute that the code does not know, and leaves none of feedback out."""
    known = {value for name, value in vars(semconv).items() if name.isupper()}
    named = set(re.findall(r"`((?:feedback|gen_ai)\.[a-z_.]+[a-z_])`", README))
    families = {name for name in named if any(one.startswith(f"{name}.") for one in known)}
    assert named - known - families <= {"feedback.metadata"}
    ours = {value for name, value in vars(semconv).items() if name.startswith("FEEDBACK_") and not value.endswith(".")}
    assert {one for one in ours if f"`{one}`" not in README} == set()


def test_the_table_of_clients_is_the_matrix():
    """The README lists the clients, their versions and their call styles as the tests have them."""
    from tests.clients.table import langchain, table

    shown = README.partition("<!-- clients -->\n")[2].partition("\n<!-- /clients -->")[0]
    assert shown == table(), "python -m tests.clients.table prints what belongs there"
    assert langchain() in README


def test_a_release_in_between_is_tested_of_each_client():
    """Of each client but LiteLLM one release between the oldest and the newest is tested, as the README says."""
    from tests.clients.table import between, listed, newest, oldest

    names = {"openai", *(case.distribution for case in listed())} - {"litellm"}
    found = {name: [[*map(int, of()[name].split("."))] for of in (oldest, between, newest)] for name in names}
    assert {name for name, (first, middle, last) in found.items() if not first < middle < last} == set()


def test_every_variable_named_is_one_that_is_read():
    """The README's variables and those that the settings read are the same."""
    source = Path(_settings.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r'"(SPANBACK_[A-Z_]+)"', source))
    assert set(re.findall(r"`(SPANBACK_[A-Z_]+)`", README)) == read


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_as_they_stand(example, server, tmp_path):
    """Each example runs without a change and its feedback is recorded."""
    printed = run([sys.executable, str(example)], tmp_path, environment(server, SPANBACK_FILE="telemetry/"))
    assert "recorded" in printed.splitlines()[-1]
    lines = (tmp_path / "telemetry" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    names = [
        span["name"]
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert "chat gpt-4o-mini" in names
    assert any(name.startswith("feedback ") for name in names)


def test_snippet_of_ten_lines_is_short():
    """The first snippet has at most ten lines of code."""
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_every_link_within_leads_to_a_heading():
    """Headings stand after an empty line, since behind HTML they would be text."""
    without_blocks = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"(?:\A|\n\n)#+ (.+)\n", without_blocks)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(anchors) == len(headings) == len(re.findall(r"^#+ ", without_blocks, re.MULTILINE))
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= anchors


def test_every_extra_is_named():
    """The table of extras has those that users install."""
    section = README.partition("| extra | ")[2].partition("\n\n")[0]
    named = {name for line in section.splitlines() for name in re.findall(r"`([\w-]+)`", line.split("|")[1])}
    known = set(metadata("spanback").get_all("Provides-Extra"))
    assert named == known - {"clients", "dev"}


def test_every_argument_of_instrument_is_named():
    """The section on configuration names what `instrument()` takes, in its order."""
    section = README.partition("## Configuration")[2].partition("The standard")[0]
    named = re.findall(r"`(\w+)`", section)
    assert named == list(inspect.signature(spanback.instrument).parameters)
