"""Serves the chat until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

import spanback
from spanback import _settings
from spanback._token_keys import new_key
from spanback.demo.chat._app import Model, create_app


class _Server(uvicorn.Server):
    """A server that says when it serves."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts serving, then tells."""
        await super().startup(sockets)
        self._on_ready()


def serve(model: Model, folder: Path, *, port: int = 0, on_ready: Callable[[str], object]) -> bool:
    """Instruments this process and serves the chat on 127.0.0.1, until it is interrupted.

    Feedback tokens are signed with a key that is made anew, so that they end with the server.

    Args:
        model: The model that answers.
        folder: Where the OTLP-JSON lines go; they also leave by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT points.
        port: Where to listen; a free port when it is 0 or taken.
        on_ready: Called with the page's address once it can be opened.

    Returns:
        Whether all of the telemetry was written, and taken where it was sent, within the time that is allowed.
    """
    spanback.instrument(file=folder, capture_content=True)
    with listening(port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        app = create_app(model, folder, keys=[new_key()], is_closing=lambda: server.should_exit)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        server = _Server(config, lambda: on_ready(url))
        with suppress(KeyboardInterrupt):  # which is how it ends
            server.run(sockets=[listener])
    return spanback.flush(_settings.current().flush_timeout_s)


def listening(port: int) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1, or on a free one where that is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))
