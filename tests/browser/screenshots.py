"""Makes the pictures of the chat for the README: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.browser.chat import Chat
from tests.browser.conftest import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).parents[2] / "docs"
SIZES = {"desktop": (1280, 840), "phone": (390, 844)}


def play(page: Page) -> None:
    """A wrong answer that is disliked and corrected, and two drafts of which one is preferred."""
    page.get_by_role("button", name="What is the capital of Australia?").click()
    page.locator(".answer .actions").wait_for()
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("button", name="incorrect").click()
    page.get_by_role("button", name="2 of 5 stars").click()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Your version of the answer").fill("The capital of Australia is Canberra.")
    page.get_by_role("button", name="Save").click()
    page.get_by_label("Your question").fill("When should I visit Kyoto?")
    page.get_by_role("button", name="Two drafts").click()
    page.get_by_role("button", name="This one is better").nth(1).click()
    page.locator(".signal").nth(3).wait_for(state="attached")
    page.get_by_label("Your question").focus()
    page.mouse.move(0, 0)


def main() -> int:
    """Writes one picture for each size and colour scheme; each has a demo of its own."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as browser,
    ):
        for scheme in ("light", "dark"):
            for name, (width, height) in SIZES.items():
                viewport = {"width": width, "height": height}
                with tempfile.TemporaryDirectory() as folder, Chat(Path(folder) / "out") as chat:
                    page = browser.new_page(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
                    page.goto(chat.url)
                    page.wait_for_selector("body[data-ready]")
                    play(page)
                    file = DOCS / f"chat-{name}-{scheme}.png"
                    page.screenshot(path=file)
                    page.close()
                sys.stdout.write(f"{file.name}: {file.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
