"""gRPC beside gevent: a call of its core stops every greenlet until it is answered, unless it is told of them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from spanback._never_raise import never_raise


def let_others_run() -> None:
    """Tells gRPC of gevent, where the app runs on it; to be called before a channel is made. Never raises.

    An app that has not replaced Python's sockets and threads by gevent's has real threads, and needs nothing.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        never_raise(_tell, monkey)


def _tell(monkey: Any) -> None:
    if not (monkey.is_module_patched("socket") and monkey.is_module_patched("threading")):
        return
    # A thread that was begun before the app was patched has a hub of its own, and holds up nobody.
    if import_module("gevent").get_hub().main_hub:
        import_module("grpc.experimental.gevent").init_gevent()
