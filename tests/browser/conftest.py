"""A real Chromium, and an endpoint for it.

Without Chromium or playwright the tests are skipped, unless ``SPANBACK_REQUIRE_BROWSER=1`` says that they must run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.endpoint import Endpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def absent() -> str:
    """What is missing for a test in the browser; empty where nothing is."""
    if find_spec("playwright") is None:
        return "playwright is not installed: pip install 'spanback[dev]'"
    return "" if CHROMIUM.exists() else f"there is no {CHROMIUM}: apt-get install chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. While it is there, playwright has an event loop running, so no test may be async."""
    if reason := absent():
        if os.environ.get("SPANBACK_REQUIRE_BROWSER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of the test's own, in which no script has failed at the end."""
    errors: list[str] = []
    with browser.new_context() as made:
        made.set_default_timeout(10_000)
        made.on("weberror", lambda error: errors.append(str(error.error)))
        yield made
    assert errors == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab of that profile."""
    return context.new_page()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint of the test's own, and the pages that use it."""
    made = Endpoint()
    yield made
    made.close()
