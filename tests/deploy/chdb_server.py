"""ClickHouse's own engine behind the part of its HTTP interface that clients need, in a process of its own.

    python tests/deploy/chdb_server.py PORT FOLDER

`chdb` is ClickHouse as a library; a server is not to be had as a package. A query is the `query` parameter, a newline
and the body; `database` says where. A client that names its `client_protocol_version`, as the driver in the
collector's exporter does, is answered in blocks of that protocol, and what it inserts is a block too. Beside the
default ones there is a cluster of two shards, `spanback`, whose name is the macro `{cluster}`. Both shards are this
process, so a test says by `additional_table_filters` which rows are whose.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import chdb

SHARD = (
    "<shard><internal_replication>true</internal_replication>"
    "<replica><host>127.0.0.1</host><port>9000</port></replica></shard>"
)
CONFIG = f"""<clickhouse>
  <tcp_port>9000</tcp_port> <!-- nobody listens: it is how an address is known to be this process -->
  <timezone>UTC</timezone>
  <macros><cluster>spanback</cluster></macros>
  <remote_servers><spanback>{SHARD}{SHARD}</spanback></remote_servers>
</clickhouse>"""


def length(number: int) -> bytes:
    """A number as blocks have lengths: seven bits a byte, the lowest first."""
    head = b""
    while number > 127:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


def text(content: str) -> bytes:
    """A text as blocks have it."""
    return length(len(content.encode())) + content.encode()


def block(lines: bytes) -> bytes:
    """A block of the protocol, from an answer in form `JSONCompactEachRowWithNamesAndTypes`.

    The engine as a library writes blocks without what the protocol puts before them and before each column. What the
    driver asks has columns of these two types only.
    """
    names, types, *rows = map(json.loads, lines.splitlines())
    encode = {"String": text, "UInt32": struct.Struct("<I").pack}
    parts = [b"\x01\x00\x02\xff\xff\xff\xff\x00", length(len(names)), length(len(rows))]
    for column, (name, kind) in enumerate(zip(names, types, strict=True)):
        parts += [text(name), text(kind), b"\x00", *(encode[kind](row[column]) for row in rows)]
    return b"".join(parts)


class Engine:
    """The engine, for one query at a time."""

    def __init__(self, folder: Path) -> None:
        config = folder / "config.xml"
        config.write_text(CONFIG)
        self._inserted = folder / "inserted.native"
        self._connection = chdb.connect(f"{folder / 'data'}?config-file={config}")
        self._lock = threading.Lock()

    def answer(self, parameters: dict[str, str], body: bytes) -> bytes:
        """What a query gives; whatever the engine refuses raises."""
        query = parameters.get("query", "")
        with self._lock:
            if database := parameters.get("database"):
                self._connection.query(f"USE {database}")
            if "client_protocol_version" not in parameters:
                query = "\n".join(filter(None, (query, body.decode())))
                form = parameters.get("default_format", "TabSeparated")
                return self._connection.query(query, form).bytes() if query else b"Ok.\n"
            if query:
                self._inserted.write_bytes(body)
                into = query.removesuffix(" FORMAT Native")
                self._connection.query(f"{into} SELECT * FROM file('{self._inserted}', 'Native')")
                return b""
            return block(self._connection.query(body.decode(), "JSONCompactEachRowWithNamesAndTypes").bytes())


def handler(engine: Engine) -> type[BaseHTTPRequestHandler]:
    """Answers queries on one connection."""

    class Handler(BaseHTTPRequestHandler):
        """One request is one query."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Runs the query of the parameter; without one, says that it is there."""
            self.do_POST()

        def do_POST(self) -> None:
            """Runs a query and answers with what it gives, or with 500 and the engine's message."""
            body = b"".join(self.body())
            try:
                self.answer(200, engine.answer(dict(parse_qsl(urlsplit(self.path).query)), body))
            except Exception as error:  # noqa: BLE001 - whatever the engine says is the answer
                self.answer(500, str(error).encode())

        def body(self) -> Iterator[bytes]:
            """What was sent, in one piece or in chunks."""
            if self.headers.get("Transfer-Encoding") != "chunked":
                yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
                return
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def answer(self, status: int, content: bytes) -> None:
            """Sends a whole answer."""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing of each request."""

    return Handler


def main(port: int, folder: Path) -> None:
    """Serves until it is told to end."""
    ThreadingHTTPServer(("127.0.0.1", port), handler(Engine(folder))).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
