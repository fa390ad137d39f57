"""ClickHouse's own engine behind the part of its HTTP interface that clients need, in a process of its own.

    python tests/deploy/chdb_server.py PORT FOLDER

`chdb` is ClickHouse as a library; a server is not to be had as a package. A query is the `query` parameter, a newline
and the body; `database` says where. Beside the default ones there is a cluster of two shards, `spanback`, whose name
is the macro `{cluster}`. Both shards are this process, so a test says by `additional_table_filters` which rows are
whose.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
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


def handler(connection: chdb.state.sqlitelike.Connection) -> type[BaseHTTPRequestHandler]:
    """Answers queries on one connection."""

    class Handler(BaseHTTPRequestHandler):
        """One request is one query."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Runs the query of the parameter; without one, says that it is there."""
            self.do_POST()

        def do_POST(self) -> None:
            """Runs a query and answers with what it gives, or with 500 and the engine's message."""
            parameters = dict(parse_qsl(urlsplit(self.path).query))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = "\n".join(filter(None, (parameters.get("query", ""), body.decode())))
            try:
                if database := parameters.get("database"):
                    connection.query(f"USE {database}")
                form = parameters.get("default_format", "TabSeparated")
                self.answer(200, connection.query(query, form).bytes() if query else b"Ok.\n")
            except Exception as error:  # noqa: BLE001 - whatever the engine says is the answer
                self.answer(500, str(error).encode())

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
    config = folder / "config.xml"
    config.write_text(CONFIG)
    connection = chdb.connect(f"{folder / 'data'}?config-file={config}")
    HTTPServer(("127.0.0.1", port), handler(connection)).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
