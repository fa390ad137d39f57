"""What `import spanback` takes beyond the SDK's own tracing, and what `instrument()` takes, each in fresh processes.

Medians of processor time, which a busy machine does not stretch as much; compiled files are there already, as they are
after the first start of an app.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Final

EXAMPLES: Final = """
examples:
  python -m benchmarks.startup
  python -m benchmarks.startup --runs 50 --modules 15
"""
_PROGRAM: Final = """
import json, sys, time
if {with_client}:
    import openai
import opentelemetry.sdk.trace
before = set(sys.modules)
start = time.process_time()
import spanback
imported = time.process_time()
spanback.instrument(set_up=False)
instrumented = time.process_time()
spanback.instrument(set_up=False)
again = time.process_time()
clients = sorted({clients} & set(sys.modules))
print(json.dumps({{
    "import_ms": (imported - start) * 1e3,
    "instrument_ms": (instrumented - imported) * 1e3,
    "again_ms": (again - instrumented) * 1e3,
    "modules": len(set(sys.modules) - before),
    "clients": clients,
}}))
"""
_CLIENTS: Final = {
    *("aiobotocore", "anthropic", "boto3", "botocore", "cohere", "google.genai", "groq", "httpx", "httpx2", "litellm"),
    *("mistralai", "ollama", "openai", "together"),
}
"""What `instrument()` must not import, all of it installed or not."""
TARGETS_MS: Final = {"import_ms": 50, "instrument_ms": 10}


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; 1 when `instrument()` imported a client."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.startup",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=20, help="fresh processes of each kind; 20")
    parser.add_argument("--modules", type=int, default=0, help="also show the slowest modules of the import")
    given = parser.parse_args(arguments)
    imported: set[str] = set()
    print(f"{'':<44}{'median ms':>10}{'least':>8}{'target':>8}")
    for with_client, label in ((False, "no client imported"), (True, "openai imported before")):
        runs = [_run(with_client=with_client) for _ in range(given.runs + 1)][1:]
        if not with_client:
            imported = {client for run in runs for client in run["clients"]}
        for key, what in (
            ("import_ms", f"import spanback ({runs[0]['modules']} modules more)"),
            ("instrument_ms", "instrument()"),
            ("again_ms", "instrument() once more"),
        ):
            times_ms = [run[key] for run in runs]
            most = f"<={TARGETS_MS[key]}" if key in TARGETS_MS else ""
            text = f"{what}, {label}" if key == "instrument_ms" else what
            print(f"{text:<44}{statistics.median(times_ms):>10.2f}{min(times_ms):>8.2f}{most:>8}")
    print(f"clients imported by instrument(): {', '.join(sorted(imported)) or 'none'}")
    if given.modules:
        _print_modules(given.modules)
    return 1 if imported else 0


def _run(*, with_client: bool) -> dict[str, float | list[str]]:
    program = _PROGRAM.format(with_client=with_client, clients=_CLIENTS)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=_environment()
    )
    return json.loads(done.stdout)


def _print_modules(most: int) -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import opentelemetry.sdk.trace; import spanback"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()[1:]]
    after = next(index for index, line in enumerate(lines) if line[2].strip() == "opentelemetry.sdk.trace") + 1
    slowest = sorted(lines[after:], key=lambda line: int(line[0]), reverse=True)[:most]
    for own_us, _, name in slowest:
        print(f"  {int(own_us) / 1e3:>8.2f} ms {name.strip()}")


def _environment() -> dict[str, str]:
    """Without what changes the app, or keeps compiled files from being written."""
    others = ("OTEL_", "SPANBACK_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}


if __name__ == "__main__":
    sys.exit(main())
