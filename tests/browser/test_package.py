"""The browser module as a package: small, typed, alone, and in step with Python."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import spanback
from spanback import signals
from spanback.web._fields import FIELDS
from tests.browser.endpoint import MODULE

FOLDER = MODULE.parent
SOURCE = MODULE.read_text(encoding="utf-8")
DECLARED = (FOLDER / "feedback.d.ts").read_text(encoding="utf-8")
LIMIT_BYTES = 5_000


def run(*command: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    """Runs a tool of Node; skips where it is not there, unless it must be."""
    tool = shutil.which(command[0])
    if tool is None:
        reason = f"there is no {command[0]}: npm install --global typescript"
        if os.environ.get("SPANBACK_REQUIRE_BROWSER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return subprocess.run([tool, *command[1:]], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_it_is_small():
    """At most 5 kB when compressed, comments included."""
    assert len(gzip.compress(SOURCE.encode(), 9)) <= LIMIT_BYTES


def test_it_stands_alone():
    """It imports nothing, fetches from nowhere but its endpoint, and sets no cookie."""
    assert (
        re.findall(r"^\s*import\b|\bimport\(|https?://(?!www\.w3\.org/2000/svg)|cookie(?!s)", SOURCE, re.MULTILINE)
        == []
    )


def test_types_are_those_of_what_is_exported():
    """Every export is declared, and nothing else is."""
    exported = set(re.findall(r"^export (?:function|const) (\w+)", SOURCE, re.MULTILINE))
    assert set(re.findall(r"^export function (\w+)", DECLARED, re.MULTILINE)) == exported


def test_a_signal_may_hold_what_the_endpoint_takes():
    """Every field that goes with a token is declared, and nothing else is."""
    declared = DECLARED.partition("export interface Signal {")[2].partition("\n}")[0]
    taken = {name for name, field in FIELDS.items() if not field.is_for_servers} - {"token"}
    assert set(re.findall(r"^  (\w+)\?:", declared, re.MULTILINE)) == taken


def test_implicit_signals_are_the_presets():
    """What the browser infers counts as much as the same signal given in Python."""
    table = re.findall(r"(\w+): \[(-?[\d.]+), ([\d.]+)\]", SOURCE.partition("IMPLICIT = {")[2].partition("};")[0])
    presets = {one.name: one for one in vars(signals).values() if isinstance(one, signals.Signal)}
    for name, score, weight in table:
        preset = presets[name]
        assert (preset.score, preset.weight, preset.type) == (float(score), float(weight), "implicit")
    assert {name for name, _, _ in table} == {name for name, one in presets.items() if one.type == "implicit"} - {
        "edited"
    }


def test_the_package_is_ready_for_npm():
    """It has spanback's version and holds the module and its types."""
    package = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == spanback.__version__
    packed = run("npm", "pack", "--dry-run", "--json")
    assert packed.returncode == 0, packed.stderr
    answer = json.loads(packed.stdout)
    (found,) = answer if isinstance(answer, list) else answer.values()
    assert sorted(file["path"] for file in found["files"]) == ["feedback.d.ts", "feedback.js", "package.json"]


def test_an_app_in_typescript_is_checked(tmp_path):
    """The declarations accept what the module takes and refuse what it does not."""
    shutil.copytree(FOLDER, tmp_path / "node_modules" / "spanback")
    shutil.copy(Path(__file__).parent / "types" / "usage.ts", tmp_path)
    options = "--noEmit --strict --target es2022 --module nodenext --lib es2022,dom"
    checked = run("tsc", *options.split(), "usage.ts", folder=tmp_path)
    assert (checked.returncode, checked.stdout) == (0, "")
