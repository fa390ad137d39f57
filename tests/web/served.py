"""The endpoint behind a real server, in a process of its own: `python -m tests.web.served KIND`.

KIND is `uvicorn`, `gunicorn` or `wsgiref`. Prints the port once it listens; telemetry goes where the variables say.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {"body_timeout_s": 0.5, "rate_per_token": None, "rate_per_address": None}


def serve_uvicorn() -> None:
    """Serves the ASGI app."""
    import uvicorn

    from spanback.web.asgi import FeedbackApp

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)  # noqa: T201

    Server(uvicorn.Config(FeedbackApp(**OPTIONS), port=0, log_level="error")).run()


def serve_gunicorn() -> None:
    """Serves the WSGI app as most do in production."""
    from gunicorn.app.base import BaseApplication

    from spanback.web.wsgi import FeedbackApp

    class Application(BaseApplication):
        def load_config(self) -> None:
            for name, value in {"bind": "127.0.0.1:0", "workers": 1, "loglevel": "error"}.items():
                self.cfg.set(name, value)
            self.cfg.set("when_ready", lambda arbiter: print(arbiter.LISTENERS[0].sock.getsockname()[1], flush=True))  # noqa: T201

        def load(self) -> Any:
            return FeedbackApp(**OPTIONS)

    Application().run()


def serve_wsgiref() -> None:
    """Serves the WSGI app with Python's own server."""
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from spanback.web.wsgi import FeedbackApp

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    server.set_app(FeedbackApp(**OPTIONS))
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()


@contextmanager
def served(kind: str, folder: Path, **variables: str) -> Iterator[tuple[int, Popen[str]]]:
    """The port of a server, and its process; what it says on standard error is in `stderr.txt` in the folder."""
    folder.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    with (folder / "stderr.txt").open("w") as errors:
        process = Popen(
            [sys.executable, "-m", "tests.web.served", kind],
            cwd=ROOT,
            env={**kept, "SPANBACK_FILE": str(folder), **variables},
            stdout=PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


if __name__ == "__main__":
    import spanback

    spanback.instrument(clients=[])
    {"uvicorn": serve_uvicorn, "gunicorn": serve_gunicorn, "wsgiref": serve_wsgiref}[sys.argv[1]]()
