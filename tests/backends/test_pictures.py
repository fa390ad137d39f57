"""The pictures of the README show what Jaeger and Tempo answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.backends import pictures
from tests.backends.servers import Jaeger, Tempo

pytestmark = pytest.mark.backends

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def without_what_differs(svg: str) -> list[str]:
    """The texts of a picture; ids and times stand as their kind, since no run has those of another."""
    texts = re.findall(r"<text [^>]*>(.*?)</text>", svg)
    texts = [re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "UUID", text) for text in texts]
    texts = [re.sub(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{7})\b", "HEX", text) for text in texts]
    return [re.sub(r"^[\d,]+ us$", "TIME", text) for text in texts]


def test_the_pictures_are_those_of_today(jaeger: Jaeger, tempo: Tempo) -> None:
    """Drawn anew, the pictures in docs/ say the same, and the README shows them."""
    for name, svg in pictures.draw(jaeger, tempo).items():
        kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert without_what_differs(kept) == without_what_differs(svg), "python -m tests.backends.pictures docs"
        assert f"](docs/{name})" in README
    assert pictures.TRACEQL in README
