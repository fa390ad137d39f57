"""`spanback signals`: what an app declares, and the presets."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanback.cli import main
from spanback.feedback import PRESETS
from spanback.feedback._declared import DECLARED

APP = """
from spanback import declare

class Shop:
    app = object()

shop = Shop()
declare("helpfulness", scale=(1, 5), labels=["good", "bad"], description="How much the answer helped")
declare("closeness", scores=(0, 1), source="system", type="implicit", weight=0.5)
"""


@pytest.fixture(autouse=True)
def _app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "votes_shop.py").write_text(APP, encoding="utf-8")
    (tmp_path / "votes_broken.py").write_text("1 / 0", encoding="utf-8")
    (tmp_path / "votes_leaving.py").write_text("raise SystemExit(0)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(DECLARED)
    DECLARED.clear()
    yield
    for name in ("votes_shop", "votes_broken", "votes_leaving"):
        sys.modules.pop(name, None)
    DECLARED.clear()
    DECLARED.update(before)


@pytest.mark.parametrize(
    "arguments", [["--app", "votes_shop:shop.app"], ["--app", "votes_shop"], ["--import", "votes_shop"]]
)
def test_declarations_of_an_app_are_listed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """They are found by the app or by the module, and sorted by name."""
    assert main(["signals", *arguments]) == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in lines if row]
    assert rows[0] == ["closeness", "0 to 1", "0.5", "system", "implicit", "", ""]
    assert rows[1] == [
        *("helpfulness", "rated 1 to 5", "1", "user", "explicit"),
        *("good, bad", "How much the answer helped"),
    ]
    assert rows[2] == ["user_thumbs", "1", "0.8", "user", "explicit", "", "signals.THUMBS_UP"]
    assert len(rows) == 2 + len(PRESETS)


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with both kinds."""
    assert main(["signals", "--json", "--import", "votes_shop"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["declared"][0] == {
        "name": "closeness",
        "scale": None,
        "scores": [0.0, 1.0],
        "labels": [],
        "source": "system",
        "type": "implicit",
        "weight": 0.5,
        "description": None,
    }
    assert said["presets"][0] == {
        "preset": "THUMBS_UP",
        "name": "user_thumbs",
        "score": 1.0,
        "weight": 0.8,
        "source": "user",
        "type": "explicit",
    }


def test_without_declarations_the_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """An app that declares nothing is told so."""
    assert main(["signals"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Declared: none"
    assert lines[1] == "Presets"


def test_without_rich_there_are_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields are parted by tabs."""
    monkeypatch.setattr("spanback.cli._signals.find_spec", lambda name: None)
    assert main(["signals", "--import", "votes_shop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "closeness\t0 to 1\t0.5\tsystem\timplicit\t\t"
    assert len(lines) == 2 + len(PRESETS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--import", "votes_absent"], "votes_absent cannot be imported: python -c 'import votes_absent' says why."),
        (["--app", "votes_broken:app"], "votes_broken cannot be imported: python -c 'import votes_broken' says why."),
        (["--app", "votes_leaving"], "votes_leaving cannot be imported: python -c 'import votes_leaving' says why."),
        (["--app", "votes_shop:shop.door"], "votes_shop has no shop.door."),
    ],
)
def test_a_module_that_cannot_be_had_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2, as for any wrong call."""
    assert main(["signals", *arguments]) == 2
    assert capsys.readouterr().err == said + "\n"
