"""The lines of files: which files a path stands for, plain or gzip, and what of them could not be read."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Final, cast

STDIN: Final = "-"
LINE_LIMIT_BYTES: Final = 512 * 1024 * 1024
"""A longer line is taken for damage and passed over, so that a file without line ends cannot fill the memory."""

_TELEMETRY_FILE: Final = re.compile(
    # As our exporter and the collector name them, also rotated (`x-2026-11-21T07-24-00.123.json`, `x.json.1`) and gzip.
    r".*(\.(json|jsonl|ndjson)(\.\d+)?|-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(\.\w+)?)(\.gz)?",
    re.DOTALL,
)
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MARGIN: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand around a line: a byte order mark and white space."""
_BLOCK_BYTES: Final = 8 * 1024 * 1024
_REPORT_BYTES: Final = 4 * 1024 * 1024

Progress = Callable[[int], None]
"""Called now and then with the number of bytes read since the last time."""


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line, or a whole file, that could not be read.

    Attributes:
        path: The file; `-` for standard input.
        line: The line's number from 1; 0 for the file as a whole.
        reason: What is wrong with it.
    """

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Source:
    """Somewhere that lines come from, as often as they are asked for.

    Attributes:
        name: The path as it was given or found; `-` for standard input.
        path: Where the bytes are: the file itself, or the copy of a stream that can be read only once.
    """

    name: str
    path: str

    def open(self) -> IO[bytes]:
        """The bytes from their beginning. Raises OSError."""
        return Path(self.path).open("rb")


def sources(paths: Iterable[str | PathLike[str]], closing: ExitStack) -> Iterator[Source]:
    """The sources that paths stand for: files, the telemetry files in folders by name, `-`, and pipes.

    Args:
        paths: Files and folders; a folder stands for the files directly in it that are named as telemetry is.
        closing: Removes the copies of streams in the end.

    Raises:
        FileNotFoundError: A path does not exist.
    """
    for path in map(str, paths):
        if path == STDIN:
            yield _spool(path, sys.stdin.buffer, closing)
        elif Path(path).is_dir():
            yield from (Source(str(file), str(file)) for file in sorted(Path(path).iterdir()) if _is_telemetry(file))
        elif Path(path).exists() and not Path(path).is_file():
            with Path(path).open("rb") as stream:
                yield _spool(path, stream, closing)
        else:
            Path(path).stat()
            yield Source(path, path)


def size_bytes(source: Source) -> int:
    """How many bytes a source holds on disk; 0 where that cannot be told."""
    try:
        with source.open() as file:
            return file.seek(0, 2)
    except OSError:
        return 0


def is_gzip(source: Source) -> bool:
    """Whether a source is compressed with gzip, by its content. Raises OSError."""
    with source.open() as file:
        return file.read(2) == _GZIP


def longest_line_bytes(source: Source) -> int:
    """At least as much as the longest line of a source holds, and at most 16 MB more. Raises one of `UNREADABLE`."""
    longest = blocks = 0
    with source.open() as raw:
        file = _decompressed(raw)
        while block := file.read(_BLOCK_BYTES):
            # A block with a line end in it closes what came before; only its existence is looked for.
            blocks = 1 if b"\n" in block else blocks + 1
            longest = max(longest, blocks)
    return (longest + 1) * _BLOCK_BYTES


def lines(source: Source, damaged: Callable[[DamagedLine], object], progress: Progress) -> Iterator[tuple[int, bytes]]:
    """The lines of a source that look like JSON objects, each with its number from 1.

    What cannot be read is reported and never stops the reading: an unreadable file, a broken end of a gzip file, a
    line that is cut off or no object, a line above `LINE_LIMIT_BYTES`.

    Args:
        source: Where to read.
        damaged: Called with each line or file that cannot be read.
        progress: Called with the number of bytes read since the last call.
    """
    number = position = unreported = 0
    try:
        with source.open() as raw:
            file = _decompressed(raw)
            for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT_BYTES), b""), 1):
                if len(line) == LINE_LIMIT_BYTES and not line.endswith(b"\n"):
                    damaged(DamagedLine(source.name, number, f"is longer than {LINE_LIMIT_BYTES} bytes"))
                    _pass_over(file)
                elif _is_object(line) or _is_object(line := line.strip(_MARGIN)):
                    yield number, line
                elif line:
                    damaged(DamagedLine(source.name, number, _fault(line)))
                unreported += len(line)
                if unreported >= _REPORT_BYTES:
                    progress(raw.tell() - position)
                    position, unreported = raw.tell(), 0
            progress(raw.tell() - position)
    except UNREADABLE as error:
        # A broken gzip file is told by the line after the last whole one.
        damaged(DamagedLine(source.name, number + 1 if number else 0, str(error)))


class _UnknownFormat(Exception):  # noqa: N818 - private, and told as a sentence
    """A file of a form that is not read."""


UNREADABLE: Final = (OSError, EOFError, zlib.error, _UnknownFormat)
"""What reading a file raises that is gone, damaged, or of a form that is not read."""


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(8)
    raw.seek(0)
    if magic.startswith(_GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if magic.startswith(_ZSTD):
        raise _UnknownFormat("is compressed with zstd, which is not read: unpack it first (zstd -d)")
    if _ZSTD in magic or magic.startswith(b"\0"):
        rule = "set `format: json` and no `compression` in the collector's file exporter"
        raise _UnknownFormat(f"holds length-prefixed messages, not lines: {rule}")
    return raw


def _spool(name: str, stream: IO[bytes], closing: ExitStack) -> Source:
    descriptor, path = tempfile.mkstemp(prefix="spanback-")
    closing.callback(Path(path).unlink)
    with os.fdopen(descriptor, "wb") as copy:
        shutil.copyfileobj(stream, copy, 1024 * 1024)
    return Source(name, path)


def _is_telemetry(path: Path) -> bool:
    return _TELEMETRY_FILE.fullmatch(path.name) is not None and path.is_file()


def _is_object(line: bytes) -> bool:
    """Whether a line opens and closes as a JSON object does. Looks at its ends only."""
    return line[:1] == b"{" and line[-3:].rstrip()[-1:] == b"}"


def _fault(line: bytes) -> str:
    return "is cut off; perhaps it is still being written" if line.startswith(b"{") else "is no JSON object"


def _pass_over(file: IO[bytes]) -> None:
    """Reads to the end of a line in pieces."""
    while (piece := file.readline(LINE_LIMIT_BYTES)) and not piece.endswith(b"\n"):
        pass
