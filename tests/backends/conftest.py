"""Fixtures that run the real collector, Jaeger, Tempo and Prometheus.

Without a Go toolchain and without cached binaries, or without Prometheus installed, the tests are skipped, unless
``SPANBACK_REQUIRE_BACKENDS=1`` says that they must run.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import builds
from tests.backends.prometheus import RELEASES, Prometheus, installed
from tests.backends.servers import COLLECTOR_CONFIG, Collector, Jaeger, Server, Tempo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path


def _require(name: str, config: pytest.Config) -> None:
    """Builds a server's binary where needed, or looks for it; skips where that cannot be done here."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():  # else the progress of a build is not seen
            if name in builds.RECIPES:
                builds.build(name)
            else:
                installed(name)
    except builds.BackendUnavailableError as error:
        if os.environ.get("SPANBACK_REQUIRE_BACKENDS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the tail of each server's log under a failed test."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Server):
                report.sections.append((f"{value.name} log", value.log_tail()))
    return report


@pytest.fixture(scope="session")
def jaeger(pytestconfig: pytest.Config) -> Iterator[Jaeger]:
    """Jaeger, one for the whole run: search by names of the test's own."""
    _require("jaeger", pytestconfig)
    with Jaeger() as server:
        yield server


@pytest.fixture(scope="session")
def tempo(pytestconfig: pytest.Config) -> Iterator[Tempo]:
    """Tempo, one for the whole run: search by names of the test's own."""
    _require("tempo", pytestconfig)
    with Tempo() as server:
        yield server


@pytest.fixture(scope="session")
def collector_binary(pytestconfig: pytest.Config) -> None:
    """Makes sure that the collector is built, for tests that start it themselves."""
    _require("collector", pytestconfig)


@pytest.fixture(scope="session")
def collector_deploy_binary(pytestconfig: pytest.Config) -> None:
    """Makes sure that the newer collector is built, which has what larger installations need."""
    _require("collector_deploy", pytestconfig)


@pytest.fixture(scope="session")
def all_servers(pytestconfig: pytest.Config) -> None:
    """Makes sure that every server is there, for tests that start them themselves."""
    for name in (*builds.RECIPES, Prometheus.name):
        _require(name, pytestconfig)


@pytest.fixture(scope="session")
def collector(collector_binary: None, jaeger: Jaeger) -> Iterator[Collector]:
    """The collector with collector-config.yaml, sending traces to ``jaeger``; one for the whole run."""
    with Collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint}) as server:
        yield server


@pytest.fixture
def start_collector(collector_binary: None) -> Iterator[Callable[..., Collector]]:
    """Starts collectors with ``(config, env)`` of the test's own; they stop with the test."""
    with ExitStack() as stack:

        def start(config: Path = COLLECTOR_CONFIG, env: Mapping[str, str] | None = None) -> Collector:
            return stack.enter_context(Collector(config, env))

        yield start


@pytest.fixture
def start_prometheus(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Iterator[Callable[..., Prometheus]]:
    """Starts Prometheus with targets and rules of the test's own; it stops with the test.

    The installed one, unless the parameter names another of `RELEASES`.
    """
    release = getattr(request, "param", Prometheus.name)
    _require(release, pytestconfig)
    with ExitStack() as stack:

        def start(*targets: str, **more: Any) -> Prometheus:
            return stack.enter_context(RELEASES[release](targets, **more))

        yield start
