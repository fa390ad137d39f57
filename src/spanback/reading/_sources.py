"""Where telemetry is read from, by its address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, Final
from urllib.parse import urlsplit

from spanback.errors import SourceError
from spanback.reading._clickhouse import ClickHouse, in_process, over_http
from spanback.reading._files import TelemetryFiles
from spanback.reading._http import Server
from spanback.reading._jaeger import Jaeger
from spanback.reading._reader import Progress, Reader
from spanback.reading._rows import RatedCall
from spanback.reading._tempo import Tempo

_LIKE_AN_ADDRESS: Final = re.compile(r"(jaeger|tempo|clickhouse)[+:]|[\w+]+://")
_ADDRESS_RULE: Final = "begins with jaeger+http://, tempo+http:// or clickhouse+http://, or the same with https"


def is_address(source: object) -> bool:
    """Whether a source is an address such as `jaeger+http://localhost:16686`, and no path."""
    return isinstance(source, str) and source.partition(":")[0] in _KINDS


def open(  # noqa: A001 - `reading.open` reads as what it does
    source: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    since_ns: int | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Reader:
    """Opens a place that telemetry is read from. Nothing is asked of it yet.

    Args:
        source: A file or a folder, several of them, or an address: `jaeger+http://localhost:16686`,
            `tempo+http://localhost:3200`, `clickhouse+http://user:password@localhost:8123/database`, each with `https`
            too, or `chdb:FOLDER` for ClickHouse in this process.
        since_ns: Read only what was recorded at this time or later, ns since the epoch. When None, files and
            ClickHouse are read whole, Jaeger and Tempo for the last 7 days.
        headers: Sent with every request to a server, such as `{"X-Scope-OrgID": "team"}`.
        progress: Called now and then with how much has been read and how much there is to read.

    Returns:
        The reader, to be closed or used as a context manager.

    Raises:
        FileNotFoundError: A path does not exist.
        SourceError: It is no address that can be read, or chdb is not installed.
    """
    if isinstance(source, str) and is_address(source):
        kind, _, rest = source.partition(":")
        return _KINDS[kind](rest, kind, headers, {"since_ns": since_ns, "progress": progress})
    paths = [source] if isinstance(source, (str, PathLike)) else list(source)
    try:
        return TelemetryFiles(paths, since_ns=since_ns, progress=progress)
    except FileNotFoundError:
        if any(_LIKE_AN_ADDRESS.match(str(path)) for path in paths):
            raise SourceError("an address", _ADDRESS_RULE) from None
        raise


def read(
    source: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    since_ns: int | None = None,
    name: str | None = None,
    negative: bool = False,
    limit: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[RatedCall]:
    """Reads the rated calls of a source, each with its signals. The arguments are those of `open` and `Reader.rated`.

    Raises:
        FileNotFoundError: A path does not exist.
        SourceError: The source cannot be read.
    """
    with open(source, since_ns=since_ns, headers=headers) as reader:
        yield from reader.rated(name=name, since_ns=since_ns, negative=negative, limit=limit)


def _server(rest: str, kind: str, headers: Mapping[str, str] | None) -> Server:
    return Server(f"{kind.rpartition('+')[2]}:{rest}", headers)


def _jaeger(rest: str, kind: str, headers: Mapping[str, str] | None, choices: dict[str, Any]) -> Reader:
    return Jaeger(_server(rest, kind, headers), **choices)


def _tempo(rest: str, kind: str, headers: Mapping[str, str] | None, choices: dict[str, Any]) -> Reader:
    return Tempo(_server(rest, kind, headers), **choices)


def _clickhouse(rest: str, kind: str, headers: Mapping[str, str] | None, choices: dict[str, Any]) -> Reader:
    _server(rest, kind, headers)  # which says what is no address
    parts = urlsplit(f"http:{rest}")
    server = _server(parts._replace(scheme="", path="", query="", fragment="").geturl(), kind, headers)
    database = parts.path.strip("/")
    return ClickHouse(over_http(server, database), f"{server.url}/{database}".rstrip("/"), **choices)


def _chdb(rest: str, _kind: str, _headers: Mapping[str, str] | None, choices: dict[str, Any]) -> Reader:
    try:
        from chdb.session import Session  # noqa: PLC0415 - large, and seldom wanted
    except ImportError:
        raise SourceError("chdb", "is not installed: pip install chdb") from None
    session = Session(rest)
    reader = ClickHouse(in_process(session), f"chdb:{rest}", **choices)
    reader.closing(session.close)
    return reader


_KINDS: Final[dict[str, Callable[..., Reader]]] = {
    **{f"jaeger+{scheme}": _jaeger for scheme in ("http", "https")},
    **{f"tempo+{scheme}": _tempo for scheme in ("http", "https")},
    **{f"clickhouse+{scheme}": _clickhouse for scheme in ("http", "https")},
    "chdb": _chdb,
}
