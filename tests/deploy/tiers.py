"""Agents and gateways of `deploy/kubernetes` as processes of a test."""

from __future__ import annotations

from pathlib import Path

from tests.backends import otlp
from tests.backends.servers import Collector


class Tier(Collector):
    """A collector of either tier, with its files as they are but for addresses: everything stays on loopback."""

    def __init__(self, name: str, *configs: str, **env: str) -> None:
        super().__init__(env=env)
        self.name = name
        self.texts = configs

    def arguments(self) -> list[str]:
        """The command line after the binary; writes the files that it names."""
        for number, text in enumerate(self.texts):
            (self.folder / f"{number}.yaml").write_text(text)
        return [f"--config={number}.yaml" for number in range(len(self.texts))]


def on_loopback(file: Path) -> str:
    """A file with addresses and folders that the test's collector is given in its environment."""
    text = (
        file.read_text().replace("0.0.0.0", "127.0.0.1").replace("/var/lib/otelcol", "${env:SPANBACK_COLLECTOR_FOLDER}")
    )
    for port, variable in (
        ("127.0.0.1:4317", "SPANBACK_OTLP_GRPC_ENDPOINT"),
        ("127.0.0.1:4318", "SPANBACK_OTLP_HTTP_ENDPOINT"),
        ("127.0.0.1:13133", "SPANBACK_HEALTH_ENDPOINT"),
    ):
        text = text.replace(f'"{port}"', f'"${{env:{variable}}}"')
    return text.replace("port: 8888", 'port: "${env:SPANBACK_METRICS_PORT}"')


def received(tier: Collector) -> set[str]:
    """The ids of the feedback spans that a gateway has had."""
    return {span.span_id for line in tier.file_lines("feedback") for span in otlp.spans(line)}
