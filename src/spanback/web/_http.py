"""What the endpoint sees of a request and what it says: values, of no framework."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"

Headers = tuple[tuple[str, str], ...]

_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


class Head(NamedTuple):
    """A request before its body is read.

    Attributes:
        method: Its method.
        path: Its path below the place where the endpoint is mounted, decoded; begins with a slash or is empty.
        query: The query string, still encoded.
        headers: Names in lower case. A name that came more than once holds all values, with commas between.
        address: Who sends it; empty where that is not known.
        given: The request as the framework has it, for what the app asks of it.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    address: str
    given: Any = None


class Response(NamedTuple):
    """What is answered.

    Attributes:
        status: The status code.
        headers: Names and values, ASCII without line breaks.
        body: The body.
    """

    status: int
    headers: Headers
    body: bytes = b""

    def plus(self, headers: Headers) -> Response:
        """The same with more headers."""
        return Response(self.status, self.headers + headers, self.body)

    def without(self, name: str) -> Response:
        """The same without a header."""
        return self._replace(headers=tuple(header for header in self.headers if header[0] != name))


class Problem(Exception):  # noqa: N818 - as RFC 9457 calls it
    """A request is refused. Becomes a body of `application/problem+json` (RFC 9457).

    Attributes:
        status: The status code.
        type: What kind it is, for programs.
        title: The same for people.
        detail: What is wrong with this request. Never holds a token.
        errors: Which fields break which rules.
        headers: More headers of the response.
    """

    def __init__(
        self,
        status: int,
        type: str,
        title: str,
        detail: str,
        *,
        errors: Iterable[Mapping[str, Any]] = (),
        headers: Headers = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers

    def response(self) -> Response:
        """The response that says so."""
        body: dict[str, Any] = {
            "type": f"urn:spanback:problem:{self.type}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return json_response(self.status, body, PROBLEM).plus(self.headers)


def json_response(status: int, body: object, content_type: str = JSON) -> Response:
    """A response with a JSON body, which nobody keeps. Its JSON is ASCII, so that no text of a client can break it."""
    content = _ENCODE(body).encode()
    return Response(
        status,
        (
            ("content-type", content_type),
            ("content-length", str(len(content))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ),
        content,
    )
