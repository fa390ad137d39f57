"""ClickHouse for tests, and what a test asks it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.backends.servers import Server

FOLDER = Path(__file__).parents[2] / "deploy" / "clickhouse"

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ClickHouse(Server):
    """The engine in a process of its own, asked over HTTP; `query_url` is its address."""

    name = "clickhouse"
    grace_s = 2.0

    def binary(self) -> Path:
        """This Python: the engine is a package."""
        return Path(sys.executable)

    def arguments(self) -> list[str]:
        """The command line after the binary."""
        return [str(Path(__file__).with_name("chdb_server.py")), self.query_url.rsplit(":", 1)[1], str(self.folder)]

    def run(self, sql: str, *, database: str = "default", form: str = "TabSeparated") -> str:
        """What one or more statements answer.

        Raises:
            AssertionError: The engine refuses them; the message is the engine's.
        """
        parameters = urllib.parse.urlencode({"database": database, "default_format": form})
        try:
            with _opener.open(f"{self.query_url}/?{parameters}", data=sql.encode(), timeout=60) as response:
                return response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{error.read().decode()}\n{sql[:400]}") from None

    def rows(self, sql: str, *, database: str = "default") -> list[dict[str, Any]]:
        """The rows of a query, numbers as numbers."""
        answer = self.run(sql, database=database, form="JSONEachRow")
        return [json.loads(line) for line in answer.splitlines() if line]

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]], *, database: str) -> None:
        """Writes rows into a table; `rows` are what `deploy/clickhouse/load.py` makes."""
        lines = "\n".join(map(json.dumps, rows))
        if lines:
            self.run(f"INSERT INTO {table} FORMAT JSONEachRow\n{lines}\n", database=database)

    def make(self, database: str, *scripts: str) -> None:
        """Makes a database and runs scripts of `deploy/clickhouse` in it."""
        self.run(f"CREATE DATABASE IF NOT EXISTS {database}")
        for script in scripts:
            self.run((FOLDER / script).read_text(), database=database)
