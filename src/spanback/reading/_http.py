"""Asks HTTP servers for what they hold, by the standard library alone."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.client import HTTPMessage
from typing import IO, Any, Final
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from spanback.errors import SourceError
from spanback.reading._json import loads

TIMEOUT_S: Final = 30.0
_SHOWN_BYTES: Final = 300
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Server:
    """One server, by its base address.

    Args:
        url: `http://` or `https://`, with user name and password where the server asks for them.
        headers: Sent with every request, such as `{"X-Scope-OrgID": "team"}`.

    Attributes:
        url: The base address without user name and password, without a slash at its end.
        user: User name and password as given; None without.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = _server_parts(url)
        self.url = _shown(parts)
        self.user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._headers = dict(headers or {})
        # A proxy must not be asked for what is on this machine.
        proxies = [urllib.request.ProxyHandler({})] if parts.hostname in _LOOPBACK else []
        self._opener = urllib.request.build_opener(_SameServer, *proxies)

    def basic_auth(self) -> None:
        """Sends user name and password, where there are some, by HTTP's own scheme."""
        if self.user is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()

    def get(self, path: str, params: Mapping[str, object] | None = None) -> Any:
        """The JSON at a path; None for 404.

        Raises:
            SourceError: It does not answer, answers with an error, or with what is no JSON.
        """
        query = f"?{urlencode(params)}" if params else ""
        try:
            with self.open(path + query) as answer:
                return loads(answer.read())
        except _NotThereError:
            return None
        except ValueError as error:
            raise SourceError(self.url + path, f"does not answer with JSON: {error}") from None

    @contextmanager
    def open(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Generator[http.client.HTTPResponse]:
        """The answer of a path, to be read inside the block.

        Raises:
            SourceError: It does not answer, or with an error.
        """
        request = urllib.request.Request(self.url + path, body, {**self._headers, **(headers or {})})  # noqa: S310
        place = self.url + path.partition("?")[0]
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(_SHOWN_BYTES).decode(errors="replace").strip()
            kind = _NotThereError if error.code == http.client.NOT_FOUND else SourceError
            raise kind(place, f"answers {error.code}: {text}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise SourceError(place, f"does not answer: {reason}") from None


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows a redirect on the same server only: every request says user name and password."""

    def redirect_request(  # noqa: PLR0917 - the base's own arguments
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request to go on with; None makes the redirect an error."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        is_same = old.netloc == new.netloc and new.scheme in {old.scheme, "https"}
        return super().redirect_request(req, fp, code, msg, headers, newurl) if is_same else None


class _NotThereError(SourceError):
    """There is nothing at a path."""


def _server_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_port = parts.port != 0
    except ValueError:
        is_port, parts = False, urlsplit("")
    if not is_port or parts.scheme not in {"http", "https"} or not parts.hostname:
        # Not shown: what cannot be read may hold a password.
        raise SourceError("what is asked", "is no http:// or https:// address")
    return parts


def _shown(parts: SplitResult) -> str:
    """An address without user name, password, query and fragment."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
