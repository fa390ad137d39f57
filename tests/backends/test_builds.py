"""How the servers are built: once, whole or not at all, and skipped where they cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.backends import builds
from tests.backends.prometheus import installed
from tests.backends.servers import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in the place of the cache of binaries."""
    monkeypatch.setenv("SPANBACK_CACHE", str(tmp_path))
    return tmp_path


def test_two_builds_at_once_build_once(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    """Whoever asks for a server while it is being built gets that same build."""
    command = ("sh", "-c", f"echo built >> {empty_cache}/count; sleep 0.2; echo binary > server")
    recipe = builds.Recipe("jaeger", minutes=1, commands=(command,))
    monkeypatch.setitem(builds.RECIPES, "jaeger", recipe)
    said: list[str] = []

    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(builds.build, ["jaeger"] * 2, [said.append] * 2))

    assert paths == [empty_cache / f"jaeger-{recipe.key}"] * 2
    assert paths[0].read_text() == "binary\n"
    assert (empty_cache / "count").read_text() == "built\n"
    assert said[0] == "building jaeger, takes about 1 minutes the first time"
    assert sorted(file.name for file in empty_cache.iterdir()) == ["build.lock", "count", paths[0].name]


@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("1", "1 error")])
def test_missing_servers_skip_or_fail(empty_cache: Path, required: str, outcome: str) -> None:
    """Tests of a server that cannot be built are skipped, or fail where it is required."""
    # The inner pytest neither takes part in the coverage of the outer one nor runs with its options.
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_CORE_", "COVERAGE_", "PYTEST_"))
    }
    env = {**inherited, "PATH": str(empty_cache), "SPANBACK_REQUIRE_BACKENDS": required}
    test = "tests/backends/test_servers.py::test_tempo_metrics"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]

    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert outcome in done.stdout.splitlines()[-1]
    assert f"no tempo in {empty_cache}, and no Go toolchain" in done.stdout


def test_no_go_and_no_cache(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    """Without cached binaries and without Go, a build says what is missing."""
    monkeypatch.setenv("PATH", str(empty_cache))

    with pytest.raises(builds.BackendUnavailableError) as caught:
        builds.build("tempo")

    assert str(caught.value) == f"no tempo in {empty_cache}, and no Go toolchain (`go`) to build it with"


def test_no_prometheus(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    """Where Prometheus is not installed, that is said with how to install it."""
    monkeypatch.setenv("PATH", str(empty_cache))

    with pytest.raises(builds.BackendUnavailableError, match=r"no promtool on the PATH .*apt-get install prometheus"):
        installed("promtool")


def test_a_failed_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    """A build command that fails is reported with its output, and the cache holds no binary."""
    recipe = builds.Recipe("jaeger", minutes=1, commands=(("sh", "-c", "echo no luck; exit 3"),))
    monkeypatch.setitem(builds.RECIPES, "jaeger", recipe)
    said: list[str] = []

    with pytest.raises(builds.BuildError, match=r"jaeger: `sh -c echo no luck; exit 3` exited with 3\nno luck"):
        builds.build("jaeger", said.append)

    assert said == ["building jaeger, takes about 1 minutes the first time"]
    assert [file.name for file in empty_cache.iterdir()] == ["build.lock"]


def test_the_build_command_refuses_unknown_servers(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is no server is answered with the usage and exit code 2."""
    assert main(["build", "zipkin"]) == 2
    names = "collector|jaeger|tempo|collector_deploy|prometheus3|promtool3|kafka"
    assert capsys.readouterr().err == f"usage: python -m tests.backends.servers build [{names} ...]\n"
