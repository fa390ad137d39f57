"""Asking servers on this machine, and ports for them."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Loopback only: a proxy set in the environment must not see these requests.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that nothing listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def get_json(url: str, params: Mapping[str, object] | None = None, *, timeout_s: float = 10.0) -> Any:
    """The JSON at ``url``, or None for 404.

    Raises:
        AssertionError: The server answered with another error; the message holds its body.
    """
    if params:
        url = f"{url}?{urllib.parse.urlencode(params)}"
    try:
        with _opener.open(url, timeout=timeout_s) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise AssertionError(f"{url}: {error.code} {error.read().decode(errors='replace')}") from None


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200."""
    try:
        with _opener.open(url, timeout=2) as response:
            return response.status == 200
    except OSError:  # refused, reset, timed out, or HTTPError (503 while starting)
        return False
