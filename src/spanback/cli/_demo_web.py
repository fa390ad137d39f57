"""`spanback demo --web`: a chat in the browser, beside what its telemetry says."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

NEEDED: Final = ("fastapi", "limits", "uvicorn")
PORT: Final = 8321

_SCRIPTED_MODEL: Final = "gpt-4o-mini"
_SCRIPTED_PACE_S: Final = 0.04


def run(console: Console, folder: Path, base_url: str, llm: str | None, *, port: int, is_opened: bool) -> bool:
    """Serves the chat until it is interrupted.

    Args:
        console: Where to say what goes on.
        folder: Where the telemetry goes.
        base_url: The server of the model.
        llm: The real model; None for the scripted one.
        port: Where to listen.
        is_opened: Whether to open the page in the user's browser.

    Returns:
        Whether all of the telemetry was written, and taken where it was sent, within the time that is allowed.
    """
    from spanback.demo.chat import Model, serve  # noqa: PLC0415 - needs fastapi

    def tell(url: str) -> None:
        console.print(f"The chat is at [bold]{url}[/bold] until you press Ctrl+C.", soft_wrap=True)
        if is_opened:
            open_page(url)

    model = Model(base_url, llm or _SCRIPTED_MODEL, pace_s=0.0 if llm else _SCRIPTED_PACE_S)
    return serve(model, folder, port=port, on_ready=tell)


def open_page(url: str) -> None:
    """Opens a page in the user's browser where there is one with windows; one of the terminal would take it over."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)
