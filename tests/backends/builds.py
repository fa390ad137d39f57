"""Builds the collector, Jaeger, Tempo, Prometheus 3 and a Kafka broker from Go modules, once per set of committed inputs.

The binaries are kept outside the tree, in ``$SPANBACK_CACHE``, ``$XDG_CACHE_HOME/spanback`` or
``~/.cache/spanback``, under a name that holds the hash of what they were built from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

INPUTS = Path(__file__).parent / "go"
BUILD_TIMEOUT_S = 45 * 60
GO_BUILD = ("go", "build", "-trimpath", "-ldflags=-s -w", "-o", "server")
COLLECTOR_BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.155.0"
COLLECTOR_BUILD = (
    # The builder only writes main.go and components.go: its own `go mod tidy` fails, as modules
    # that only tests import cannot be had. go.mod and go.sum are committed instead.
    ("go", "run", COLLECTOR_BUILDER, "--skip-compilation", "--skip-get-modules", "--config=builder.yaml"),
    (*GO_BUILD, "."),
)
# Without service discovery, which is most of what there is to build.
PROMETHEUS = "github.com/prometheus/prometheus/cmd/"
PROMETHEUS_BUILD = (*GO_BUILD, "-tags=remove_all_sd")


class BackendUnavailableError(RuntimeError):
    """There is no cached binary and no Go toolchain to build one with."""


class BuildError(RuntimeError):
    """A build command failed; the message ends with the tail of its output."""


@dataclass(frozen=True)
class Recipe:
    """How one server is built from its folder of committed inputs.

    Attributes:
        name: The server's name.
        minutes: How long a first build takes on two cores, downloads included.
        commands: Run in a copy of the folder; the last one writes ``server``.
        inputs: The folder under ``go/``, where it is not called as the server is.
    """

    name: str
    minutes: int
    commands: tuple[tuple[str, ...], ...]
    inputs: str = ""

    @property
    def folder(self) -> Path:
        """The committed inputs."""
        return INPUTS / (self.inputs or self.name)

    @property
    def key(self) -> str:
        """A hash of the committed inputs and the commands."""
        digest = hashlib.sha256(repr(self.commands).encode())
        for file in sorted(self.folder.iterdir()):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    @property
    def binary(self) -> Path:
        """Where the built binary is kept, whether it is there yet or not."""
        return cache_folder() / f"{self.name}-{self.key}"


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("collector", minutes=4, commands=COLLECTOR_BUILD),
        Recipe("jaeger", minutes=5, commands=((*GO_BUILD, "github.com/jaegertracing/jaeger/cmd/jaeger"),)),
        Recipe("tempo", minutes=4, commands=((*GO_BUILD, "github.com/grafana/tempo/cmd/tempo"),)),
        Recipe("collector_deploy", minutes=5, commands=COLLECTOR_BUILD),
        Recipe("prometheus3", minutes=4, commands=((*PROMETHEUS_BUILD, f"{PROMETHEUS}prometheus"),)),
        Recipe("promtool3", minutes=1, commands=((*PROMETHEUS_BUILD, f"{PROMETHEUS}promtool"),), inputs="prometheus3"),
        Recipe("kafka", minutes=1, commands=((*GO_BUILD, "."),)),
    )
}


def cache_folder() -> Path:
    """The folder of built binaries."""
    if folder := os.environ.get("SPANBACK_CACHE"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spanback"


def progress(message: str) -> None:
    """Prints one line of progress on standard error."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def build(name: str, say: Callable[[str], None] = progress) -> Path:
    """Returns the binary of a server, building it first where the cache has none.

    Args:
        name: One of `RECIPES`.
        say: Takes the lines of progress.

    Raises:
        BackendUnavailableError: Nothing is cached and there is no Go toolchain.
        BuildError: The build ran and failed.
    """
    recipe = RECIPES[name]
    if recipe.binary.exists():
        return recipe.binary
    if shutil.which("go") is None:
        raise BackendUnavailableError(f"no {name} in {cache_folder()}, and no Go toolchain (`go`) to build it with")
    recipe.binary.parent.mkdir(parents=True, exist_ok=True)
    with _lock(recipe.binary.parent / "build.lock"):
        if not recipe.binary.exists():
            _build(recipe, say)
    return recipe.binary


def _build(recipe: Recipe, say: Callable[[str], None]) -> None:
    say(f"building {recipe.name}, takes about {recipe.minutes} minutes the first time")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=recipe.binary.parent, prefix=f"building-{recipe.name}-") as temp:
        folder = Path(temp) / "src"
        shutil.copytree(recipe.folder, folder)
        for command in recipe.commands:
            _run(recipe.name, command, folder)
        (folder / "server").replace(recipe.binary)
    say(f"built {recipe.name} in {time.monotonic() - started:.0f} s")


def _run(name: str, command: tuple[str, ...], folder: Path) -> None:
    # Own flags: a developer's GOFLAGS or go.work must not change what is built.
    env = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false -p=2", "GOWORK": "off"}
    done = subprocess.run(
        ("nice", *command),
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise BuildError(f"{name}: `{' '.join(command)}` exited with {done.returncode}\n{tail}")


@contextmanager
def _lock(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
