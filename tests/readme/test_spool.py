"""The README on durable feedback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.export.backends import free_port

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_snippet_prints_what_the_text_says(tmp_path: Path) -> None:
    """The snippet runs as it stands, and `spanback spool` finds what it left where no backend is."""
    (snippet,) = re.findall(r"^```python spool\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    env = kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_METRICS_EXPORTER": "none",
        "SPANBACK_FLUSH_TIMEOUT_S": "0.2",
    }

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    assert run(sys.executable, "-c", snippet) == "spooled\n"
    assert "traces: 1 waiting" in run(sys.executable, "-m", "spanback", "spool", "feedback.db")
