"""`deploy/README.md` says what is there: files, queries, alerts, sizes and commands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TEXTS = {"deploy/README.md": (DEPLOY / "README.md").read_text(), "README.md": (ROOT / "README.md").read_text()}
README = TEXTS["deploy/README.md"]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    """Every file that is linked to exists."""
    folder = (ROOT / name).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[name]) if "://" not in link]
    assert links
    assert [link for link in links if not (folder / link).exists()] == []


def test_sizes_are_those_of_the_script() -> None:
    """The table of sizes is what sizing.py prints."""
    sizing = runpy.run_path(str(DEPLOY / "kubernetes" / "sizing.py"))
    table = README.split("<!-- sizing -->\n")[1].split("\n<!-- /sizing -->")[0]
    assert table == sizing["table"]([10, 100, 1_000, 10_000])
    assert (
        f"({sizing['MEASURED_US_A_SPAN']:.0f} us a span and {sizing['MEASURED_US_A_SIGNAL']:.0f} us a signal" in README
    )


def test_every_query_and_alert_is_told_of() -> None:
    """Each query and each alert has a line, and no line is about one that is not there."""
    queries = {file.stem for file in (DEPLOY / "clickhouse" / "queries").glob("*.sql")}
    assert set(re.findall(r"\[`(\w+)`\]\(clickhouse/queries/", README)) == queries
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert set(re.findall(r"`(Feedback\w+)`", README)) == alerts


def test_commands_name_what_is_there() -> None:
    """Every path of `deploy/` in a command exists."""
    blocks = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", "\n".join(TEXTS.values()), re.DOTALL))
    paths = set(re.findall(r"\bdeploy/[\w./-]+", blocks + README))
    assert len(paths) > 5
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
