"""The README's sections about reading back and about the doctor: snippets run, commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from spanback import cli
from spanback.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = README.partition("\n## Read it back\n")[2].partition("\n## What is on the wire\n")[0]
WIRE = ROOT / "tests" / "reading" / "wire" / "collector.jsonl"


def test_the_snippets_print_what_the_text_says(tmp_path: Path) -> None:
    """They run as they stand, one after another, over a folder of telemetry."""
    (tmp_path / "telemetry").mkdir()
    (tmp_path / "telemetry" / "all.jsonl").write_bytes(WIRE.read_bytes())
    script = "\n".join(re.findall(r"^```python reading\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "gpt-5-mini-2025-08-07 user_thumbs -1.0 No, it is Canberra.",
        "gpt-5-mini-2025-08-07 correction None None",
        "None user_thumbs -1.0 None",
        "claude-opus explicit 2 0.25",
        "gpt-5 implicit 1 0.4",
        "gpt-5-mini explicit 1 -1.0",
        "gpt-5-mini-2025-08-07 explicit 2 -1.0",
        "{'request_model': 'gpt-5-mini', 'prompt_version': '3', 'signals': 1, 'mean': -1.0}",
        "{'request_model': 'gpt-5-mini', 'prompt_version': None, 'signals': 1, 'mean': -1.0}",
        "{'request_model': 'claude-opus', 'prompt_version': None, 'signals': 1, 'mean': 0.5}",
    ]


@pytest.mark.parametrize("line", re.findall(r"^spanback .*", SECTIONS, re.MULTILINE))
def test_each_command_is_one_that_is_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words are those of the command line; what it does is tested against the real servers."""
    words = shlex.split(line)[1:]
    with pytest.raises(SystemExit) as exited:
        main([*words, "--help"])
    assert exited.value.code == 0
    assert words[0] in cli.COMMANDS
    shown = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in shown] == []
