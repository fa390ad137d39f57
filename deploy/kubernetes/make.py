"""The ConfigMaps, from the collectors' own files: `python deploy/kubernetes/make.py` writes them.

A manifest cannot include a file. So collector-config.yaml, which the gateways run as it is, and the files in config/
are copied, and a test says whether the copies are current.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
SHARED = FOLDER.parents[1] / "collector-config.yaml"

# What each ConfigMap holds, by the name that the collector sees: two ways to wire agents and gateways.
CONFIGMAPS = {
    "configmaps.yaml": {
        "agents": {"agent.yaml": FOLDER / "config" / "agent.yaml"},
        "gateways": {"collector-config.yaml": SHARED, "gateway.yaml": FOLDER / "config" / "gateway.yaml"},
    },
    "kafka/configmaps.yaml": {
        "agents": {"agent.yaml": FOLDER / "config" / "agent-kafka.yaml"},
        "gateways": {"collector-config.yaml": SHARED, "gateway.yaml": FOLDER / "config" / "gateway-kafka.yaml"},
    },
}
HEAD = """\
# Made by make.py from config/ and collector-config.yaml: change those.
"""


def config_map(name: str, files: dict[str, Path]) -> str:
    """One ConfigMap."""
    lines = ["apiVersion: v1", "kind: ConfigMap", f"metadata: {{name: {name}, namespace: spanback}}", "data:"]
    for key, file in files.items():
        lines.append(f"  {key}: |")
        lines += [f"    {line}".rstrip() for line in file.read_text(encoding="utf-8").splitlines()]
    return "\n".join(lines) + "\n"


def manifests() -> dict[str, str]:
    """All of them, by the name of their file."""
    return {
        file: HEAD + "---\n".join(config_map(name, files) for name, files in maps.items())
        for file, maps in CONFIGMAPS.items()
    }


def main() -> None:
    """Writes the files."""
    for file, text in manifests().items():
        (FOLDER / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
