"""The command line itself: which command runs, what the help costs, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from spanback import cli


def test_help_names_every_command_with_examples(capsys):
    """Without a command the help is printed, and the exit code says that the call was wrong."""
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    assert all(f"  spanback {name} " in shown for name in ("demo", "show", "status"))
    assert all(command.summary.split()[0] in shown for command in cli.COMMANDS.values())


def test_help_imports_no_command():
    """The help and the version need neither rich nor a client."""
    script = "import sys; from spanback.cli import main; main([]); print({'rich', 'openai', 'spanback.cli._demo'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("\nset()\n")


def test_the_version_is_the_package_s(capsys):
    """`--version` prints what pip knows."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"spanback {version('spanback')}\n"


def test_an_unknown_command_is_refused(capsys):
    """The message names the commands there are."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["shoe"])
    assert ended.value.code == 2
    assert "invalid choice: 'shoe'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "show"])
def test_every_command_has_help_with_examples(command, capsys):
    """`spanback <command> --help` shows how it is called."""
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  spanback {command}" in capsys.readouterr().out


@pytest.mark.parametrize("port", ["http", "-1", "65536"])
def test_a_port_that_is_none_is_refused(port, capsys):
    """With what it may be."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--web", f"--port={port}"])
    assert ended.value.code == 2
    assert f"{port!r} is no port: a number from 0 (any that is free) to 65535" in capsys.readouterr().err


def fake_command(run):
    """A command module whose `run` is given."""
    return SimpleNamespace(add_parser=lambda subparsers: subparsers.add_parser("demo"), run=run)


def test_the_exit_code_is_the_command_s(monkeypatch):
    """What a command returns is handed on."""
    monkeypatch.setattr(cli, "import_module", lambda name: fake_command(lambda arguments: 7))
    monkeypatch.setattr(sys, "argv", ["spanback", "demo"])
    assert cli.main() == 7


@pytest.mark.parametrize("words", [["--version"], ["keys", "new"], ["signals"]])
def test_a_closed_pipe_is_no_failure(words):
    """Whoever reads has seen enough before the first word."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "spanback", *words], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["--version"], ["keys", "new"]])
def test_a_full_disk_is_told(words):
    """Where standard output is a file, a part of it is missing, so the exit code is 1."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "spanback", *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        b"What is printed cannot be written: No space left on device.\n",
    )


def test_an_error_of_the_system_is_not_swallowed(monkeypatch):
    """What no command has foreseen is shown whole."""

    def failing(arguments):
        raise ConnectionResetError

    monkeypatch.setattr(cli, "import_module", lambda name: fake_command(failing))
    with pytest.raises(ConnectionResetError):
        cli.main(["demo"])


def test_an_interrupted_command_ends_quietly(monkeypatch):
    """Ctrl-C gives the exit code that shells use for it."""

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", lambda name: fake_command(interrupted))
    assert cli.main(["demo"]) == 130
