"""`spanback keys new`: a key for feedback tokens."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from spanback import _token_keys
from spanback.errors import InvalidSetting

_EPILOG: Final = """
examples:
  export SPANBACK_TOKEN_KEYS="$(spanback keys new)"        the only key
  SPANBACK_TOKEN_KEYS="$OLD,$(spanback keys new)"          rotation: the newest signs, all of them verify
  spanback keys new --eddsa                                a key pair: the public key verifies and cannot sign
  spanback keys public < private.key                       the public key of such a pair

A key is a secret: whoever has it can make tokens for every response. Keep an old key for as long as its tokens live.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "keys",
        help="make a key for feedback tokens",
        description="Prints a new key for SPANBACK_TOKEN_KEYS, or the public key of one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "action", choices=("new", "public"), help="new: a new key; public: of the key on standard input"
    )
    parser.add_argument("--eddsa", action="store_true", help="Ed25519 instead of HMAC-SHA256; needs spanback[eddsa]")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 2 when `cryptography` is not installed or standard input holds no key that has a public one.
    """
    try:
        is_new = arguments.action == "new"
        key = _token_keys.new_key(eddsa=arguments.eddsa) if is_new else _token_keys.public_key(sys.stdin.read().strip())
    except InvalidSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{key}\n")
    return 0
