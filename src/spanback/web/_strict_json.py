"""JSON of strangers, read strictly: two readers must never see two different things in it (RFC 8259, section 4)."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from spanback.web._http import Problem

DEPTH_LIMIT: Final = 64

# A string that does not end is taken to the end of the text, so that each character is looked at once.
_MARKS: Final = re.compile(r'"(?:[^"\\]+|\\.)*"?|[][{}]', re.DOTALL)


def read(body: bytes) -> Any:
    """The value of a body.

    Raises:
        Problem: It is no JSON in UTF-8, nests too deep, names a key twice, or holds NaN, Infinity, a lone surrogate or
            a number of thousands of digits.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _refused("must be UTF-8") from None
    if text.count("[") + text.count("{") > DEPTH_LIMIT and _depth(text) > DEPTH_LIMIT:
        raise _refused(f"must not nest deeper than {DEPTH_LIMIT}")
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _refused("must not hold lone surrogates") from None
    except ValueError:
        raise _refused("must be JSON") from None
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refused("must not name a key twice")
    return found


def _constant(_name: str) -> NoReturn:
    raise _refused("must not hold NaN or Infinity")


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in _MARKS.finditer(text):
        mark = found[0]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _refused(rule: str) -> Problem:
    error = {"field": "body", "rule": rule}
    return Problem(400, "invalid-body", "The body cannot be read", f"body {rule}", errors=[error])


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
