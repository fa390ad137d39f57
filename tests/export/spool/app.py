"""An app with a durable spool, as a process of a test: `python -m tests.export.spool.app WHAT NAME`.

It prints the id of each signal once its call has returned.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any


def give(name: str, count: int = 3) -> None:
    """Records signals and prints their ids, a line each."""
    import spanback
    from spanback.testing import fake_ref

    for number in range(count):
        receipt = spanback.record_feedback(fake_ref(), score=1.0, feedback_id=f"{name}-{number}")
        assert receipt.status == "spooled", receipt
        os.write(1, f"{receipt.feedback_id}\n".encode())


def fork(name: str) -> None:
    """A child is forked while threads give signals and the sender sends; both go on."""
    threads = [threading.Thread(target=give, args=(f"{name}-thread{number}", 20)) for number in range(2)]
    give(f"{name}-before")
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        give(f"{name}-child")
        sys.exit(0)  # with all that is done at exit
    give(f"{name}-parent")
    for thread in threads:
        thread.join()
    assert os.waitpid(child, 0)[1] == 0


def preload(name: str) -> None:
    """A child is forked before there is anything to send, as by a server that loads the app first."""
    from spanback._telemetry import TELEMETRY

    TELEMETRY.tracer()  # opens the spool
    child = os.fork()
    assert not [one.name for one in threading.enumerate() if one.name.startswith("spanback-spool")]
    if child == 0:
        give(f"{name}-child")
        sys.exit(0)
    give(f"{name}-parent")
    assert os.waitpid(child, 0)[1] == 0


def pool(name: str) -> None:
    """Workers of multiprocessing, which leave without what is done at exit."""
    import multiprocessing

    give(f"{name}-before")
    with multiprocessing.get_context("fork").Pool(2) as workers:
        workers.map(give, [f"{name}-worker{number}" for number in range(4)])


def greenlets(name: str) -> None:
    """Everything in greenlets."""
    import gevent

    gevent.joinall([gevent.spawn(give, f"{name}-{number}") for number in range(4)], raise_error=True)
    import spanback

    assert spanback.flush(10.0)


def workers(name: str) -> None:
    """A server whose worker gives one signal a request; prints its port once it listens."""
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self) -> None:
            chosen = {"bind": "127.0.0.1:0", "workers": 1, "worker_class": "gevent", "loglevel": "error"}
            for setting, value in {**chosen, "preload_app": name == "preload"}.items():
                self.cfg.set(setting, value)
            self.cfg.set(
                "when_ready", lambda arbiter: os.write(1, b"%d\n" % arbiter.LISTENERS[0].sock.getsockname()[1])
            )

        def load(self) -> Any:
            import spanback
            from spanback.testing import fake_ref

            spanback.instrument(clients=[])
            if name == "preload":
                spanback.record_feedback(fake_ref(), score=1.0, feedback_id="preloaded")

            def answer(environ: Any, start_response: Any) -> list[bytes]:
                receipt = spanback.record_feedback(fake_ref(), score=1.0)
                assert receipt.status == "spooled", receipt
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [receipt.feedback_id.encode()]

            return answer

    Application().run()


def main(what: str, name: str) -> None:
    """Does one of the above."""
    if what == "workers":
        workers(name)
    if what == "gevent":
        from gevent import monkey

        monkey.patch_all()
    import spanback

    spanback.instrument(clients=[])
    if what == "kill":
        give(name)
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "idle":
        from spanback._telemetry import TELEMETRY

        TELEMETRY.tracer()
    else:
        {"give": give, "fork": fork, "preload": preload, "pool": pool, "gevent": greenlets}[what](name)


if __name__ == "__main__":
    main(*sys.argv[1:])
