"""The endpoint that takes feedback: requests in, responses out, of no framework and without any input or output.

A request is answered in two steps, so that what is refused by its headers alone is refused before its body is read:
`begin` looks at the head, `finish` at the body.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from spanback import _settings, _tokens
from spanback.errors import InvalidFeedback, MissingTokenKey
from spanback.web import _strict_json
from spanback.web._authority import Authorities, Authority, missing
from spanback.web._http import Head, Headers, Problem, Response, json_response
from spanback.web._limits import Rates
from spanback.web._openapi import document
from spanback.web._origins import Origins
from spanback.web._signals import Ready, Signals
from spanback.web._static import script
from spanback.web._uses import MemoryUses, UseCounter

BODY_LIMIT_BYTES: Final = 262_144
BATCH_LIMIT: Final = 100

_TYPES: Final = frozenset({"application/json", "text/plain"})
"""`navigator.sendBeacon` sends text."""
_ROUTES: Final = {
    "": "POST",
    "/": "POST",
    "/batch": "POST",
    "/openapi.json": "GET",
    "/feedback.js": "GET",
    "/healthz": "GET",
}


class Options(NamedTuple):
    """How the endpoint is set up.

    Attributes:
        keys: Keys of tokens as text, oldest to newest; SPANBACK_TOKEN_KEYS when None.
        audience: Whom tokens must be for; SPANBACK_TOKEN_AUDIENCE when None.
        api_keys: Keys of servers, which may rate every response; at least 32 characters each.
        origins: Pages that may use the endpoint, besides those of its own host: `https://app.example.com`, or `*`.
        user_of: Says who sends a request, given the ASGI scope or the WSGI environ; None for nobody.
        uses: Counts the uses of tokens with a limit; in this process when None.
        rate_per_token: How often one token may be used; None for any number.
        rate_per_address: How often one address may come; None for any number.
        rate_store: Where rates are counted: None for this process, else such as `redis://localhost:6379`.
        proxies: How many proxies of yours stand before the app: so many entries of X-Forwarded-For, from its end, are
            believed.
        body_limit_bytes: The longest body that is read.
        body_timeout_s: The longest that a body may take to arrive.
    """

    keys: Sequence[str] | None = None
    audience: str | None = None
    api_keys: Collection[str] = ()
    origins: Collection[str] = ()
    user_of: Callable[[Any], str | None] | None = None
    uses: UseCounter | None = None
    rate_per_token: str | None = "60/minute"
    rate_per_address: str | None = "600/minute"
    rate_store: str | None = None
    proxies: int = 0
    body_limit_bytes: int = BODY_LIMIT_BYTES
    body_timeout_s: float = 10.0


class Pending(NamedTuple):
    """A request whose body is still to be read.

    Attributes:
        head: What came before it.
        headers: Those of the response by which the page may read it.
        authority: What the headers allow; None where the body must hold the token.
    """

    head: Head
    headers: Headers
    authority: Authority | None


class Endpoint:
    """The endpoint.

    Args:
        options: How it is set up.

    Raises:
        MissingTokenKey: There are neither keys of tokens nor API keys.
        InvalidSetting: An option breaks its rule.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        audience = options.audience or _settings.current().token_audience
        self._authorities = Authorities(_keys(options), audience, options.api_keys)
        self._origins = Origins(options.origins)
        self._rates = Rates(options.rate_per_token, options.rate_per_address, options.rate_store)
        self._signals = Signals(options.uses or MemoryUses(), options.user_of, self._authorities.of_token)
        self.waits = options.rate_store is not None or not isinstance(options.uses, (MemoryUses, type(None)))
        """Whether an answer may wait for another machine."""

    def begin(self, head: Head) -> Response | Pending:
        """What can be said before the body is read.

        Args:
            head: The request.

        Returns:
            The response, or the request to finish with its body. Never raises.
        """
        try:
            if head.method == "OPTIONS" and "access-control-request-method" in head.headers:
                return self._origins.preflight(head)
            if head.method in {"GET", "HEAD"}:
                return self._get(head)
            self._check_route(head)
            headers = self._origins.check(head)
            self._rates.count_address(head.address)
            pending = Pending(head, headers, self._authorities.of_head(head))
            if head.method == "DELETE":
                return self.finish(pending, b"")
            self._check_body(head)
        except Problem as problem:
            return self._refuse(head, problem)
        return pending

    def finish(self, pending: Pending, body: bytes) -> Response:
        """What is said once the body is there; records the feedback.

        Args:
            pending: What `begin` gave.
            body: The body.

        Returns:
            The response. Never raises.
        """
        head, headers, authority = pending
        try:
            return self._answer(head, authority, body).plus(headers)
        except Problem as problem:
            return self._refuse(head, problem)
        except InvalidFeedback as error:
            return self._refuse(head, _invalid([(None, error)]))

    def refuse(self, head: Head, problem: Problem) -> Response:
        """The response where reading the body has failed."""
        return self._refuse(head, problem)

    def _answer(self, head: Head, authority: Authority | None, body: bytes) -> Response:
        if head.method == "DELETE":
            return self._retract(head, authority)
        value: Any = _strict_json.read(body)
        if not isinstance(value, dict):
            raise _malformed("body", "must be a JSON object")
        if head.path != "/batch":
            (receipt,) = self._record(head, authority, [value])
            return json_response(202, receipt)
        items = value.get("signals")
        if value.keys() != {"signals"} or not isinstance(items, list) or not 0 < len(items) <= BATCH_LIMIT:
            raise _malformed("signals", f"must be the only field: a list of 1 to {BATCH_LIMIT} signals")
        return json_response(202, {"receipts": self._record(head, authority, items)})

    def _record(self, head: Head, authority: Authority | None, signals: list[Any]) -> list[dict[str, Any]]:
        """Records all of the signals, or none of them."""
        ready: list[Ready] = []
        problems: list[tuple[int | None, InvalidFeedback]] = []
        for index, signal in enumerate(signals):
            one = self._prepared(signal, authority, head)
            if isinstance(one, InvalidFeedback):
                problems.append((index if head.path == "/batch" else None, one))
            else:
                ready.append(one)
        if problems:
            raise _invalid(problems)
        for one in ready:
            self._count(one.authority)
        for one in ready:
            self._signals.count_use(one.authority)
        return self._signals.record(ready)

    def _prepared(self, signal: object, authority: Authority | None, head: Head) -> Ready | InvalidFeedback:
        try:
            return self._signals.prepare(signal, authority, head.given)
        except InvalidFeedback as error:
            return error

    def _retract(self, head: Head, authority: Authority | None) -> Response:
        if authority is None:
            raise missing()
        self._count(authority)
        try:
            strictly: dict[str, Any] = {"strict_parsing": bool(head.query), "errors": "strict"}
            query = parse_qs(head.query, keep_blank_values=True, max_num_fields=4, **strictly)
        except ValueError:
            raise _malformed("query", "must be a query string in UTF-8") from None
        return json_response(202, self._signals.retract(head.path[1:], authority, head.given, query))

    def _count(self, authority: Authority) -> None:
        """Counts a use of a token. Servers are the app's own, and not counted."""
        if authority.claims is not None:
            self._rates.count_token(authority.claims.token_id)

    def _get(self, head: Head) -> Response:
        if _ROUTES.get(head.path) != "GET":
            self._check_route(head)
        if head.path == "/healthz":
            return json_response(200, {"status": "ok"})
        if head.path == "/openapi.json":
            return json_response(200, document()).plus(_EVERYBODY)
        return script(head)

    def _check_route(self, head: Head) -> None:
        """Whether there is something at the path that takes the method."""
        method = _ROUTES.get(head.path)
        # What withdraws a signal has its id, which may hold slashes, for a path.
        if method is None and head.path[:1] == "/" and (head.method == "DELETE" or "/" not in head.path[1:]):
            method = "DELETE"
        if method is None:
            raise Problem(404, "not-found", "There is nothing here", "there is no such path")
        if method != head.method:
            allowed = "GET, HEAD" if method == "GET" else method
            detail = f"the method must be {allowed}"
            raise Problem(405, "method", "The method is not allowed", detail, headers=(("allow", allowed),))

    def _check_body(self, head: Head) -> None:
        given = head.headers.get("content-type", "")
        kind, _, parameters = given.lower().replace('"', "").partition(";")
        if given not in _TYPES and (kind.strip() not in _TYPES or parameters.strip() not in {"", "charset=utf-8"}):
            raise Problem(
                415, "content-type", "Not this type", "content-type must be application/json or text/plain, in UTF-8"
            )
        length = head.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise _malformed("content-length", "must be a number")
        if len(length) > 18 or int(length) > self.options.body_limit_bytes:
            raise too_long(self.options.body_limit_bytes)

    def _refuse(self, head: Head, problem: Problem) -> Response:
        response = problem.response()
        try:
            return response.plus(self._origins.check(head))
        except Problem:
            return response


_CLOSE: Final = (("connection", "close"),)
_EVERYBODY: Final = (("access-control-allow-origin", "*"),)


def too_long(limit_bytes: int) -> Problem:
    """The body is longer than is read."""
    detail = f"body must be at most {limit_bytes} bytes"
    return Problem(413, "too-long", "The body is too long", detail, headers=_CLOSE)


def too_slow(timeout_s: float) -> Problem:
    """The body takes longer than is waited for."""
    detail = f"body must arrive in {timeout_s:g} s"
    return Problem(408, "too-slow", "The body is too slow", detail, headers=_CLOSE)


def cut_off() -> Problem:
    """The body ends before its end."""
    return _malformed("body", "must arrive whole")


def _keys(options: Options) -> _tokens.TokenKeys | None:
    try:
        return _tokens.keys_of(options.keys)
    except MissingTokenKey:
        if options.api_keys:
            return None
        raise


def _malformed(field: str, rule: str) -> Problem:
    error = {"field": field, "rule": rule}
    return Problem(400, "invalid-body", "The request cannot be read", f"{field} {rule}", errors=[error])


def _invalid(problems: Sequence[tuple[int | None, InvalidFeedback]]) -> Problem:
    errors: list[dict[str, Any]] = []
    for index, error in problems:
        shown = {"field": error.field, "rule": error.rule, "detail": str(error)}
        errors.append(shown if index is None else {"index": index, **shown})
    return Problem(422, "invalid-feedback", "A field breaks its rule", str(problems[0][1]), errors=errors)
