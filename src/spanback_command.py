"""The command `spanback`, outside of the package: Ctrl-C while that is still being loaded ends it quietly, too."""

from __future__ import annotations

_INTERRUPTED = 130


def main() -> int:
    """Runs a command.

    Returns:
        The exit code, as `spanback.cli.main` gives it.
    """
    try:
        from spanback.cli import main as run  # noqa: PLC0415 - it takes long enough to be interrupted

        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED
