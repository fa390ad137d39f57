"""Who may give feedback on what: by a token for one response, or by an API key for all of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, cast

from spanback import _tokens
from spanback._spanref import SpanRef
from spanback._token_keys import TokenKeys, encoded
from spanback._tokens import Claims
from spanback.errors import InvalidSetting, TokenInvalid
from spanback.web._http import Head, Problem

API_KEYS_RULE: Final = "must be a list of texts of at least 32 characters"

_API_KEY_CHARACTERS: Final = 32
_SEAL_CHARACTERS: Final = 12
_BEARER: Final = "bearer "
_UNAUTHORIZED: Final = (("www-authenticate", "Bearer"),)


class Authority(NamedTuple):
    """What a request may do.

    Attributes:
        ref: The only response that it may rate; None with an API key, which says itself which.
        claims: What the token says; None with an API key.
    """

    ref: SpanRef | None = None
    claims: Claims | None = None

    def seal(self, feedback_id: str) -> str:
        """The id under which a signal is recorded: the given one, with a mark of the response and the user.

        Ids are no secrets, and the same id again replaces a signal. With the mark, nobody whose token is for another
        response or another user can replace or withdraw it.

        Args:
            feedback_id: As the client gave it, marked already or not.

        Raises:
            Problem: It has the mark of another response or user.
        """
        if self.ref is None:
            return feedback_id
        plain, _, seal = feedback_id.rpartition("~")
        if plain and len(seal) == _SEAL_CHARACTERS:
            if seal != self._mark(plain):
                raise not_allowed("feedback_id", "must be of a signal on the same response, given by the same user")
            return feedback_id
        return f"{feedback_id}~{self._mark(feedback_id)}"

    def _mark(self, feedback_id: str) -> str:
        rated = cast("SpanRef", self.ref).traceparent[:-3]
        who = "" if self.claims is None else self.claims.bound or ""
        text = f"{rated}\0{who}\0{feedback_id}".encode("utf-8", "replace")
        return encoded(hashlib.sha256(text).digest())[:_SEAL_CHARACTERS].decode()


class Authorities:
    """Checks tokens and API keys.

    Args:
        keys: Verify the tokens; None where no tokens are taken.
        audience: Whom tokens must be for.
        api_keys: The API keys, as text.

    Raises:
        InvalidSetting: An API key is too short to be one.
    """

    def __init__(self, keys: TokenKeys | None, audience: str, api_keys: Collection[str]) -> None:
        if isinstance(api_keys, str) or any(len(key) < _API_KEY_CHARACTERS for key in api_keys):
            raise InvalidSetting("api_keys", "<api keys>", API_KEYS_RULE)
        self._keys = keys
        self._audience = audience
        self._api_keys = [hashlib.sha256(key.encode()).digest() for key in api_keys]

    def of_head(self, head: Head) -> Authority | None:
        """What the headers say; None where they hold neither a token nor an API key.

        Raises:
            Problem: What they hold is not good.
        """
        api_key = head.headers.get("x-api-key")
        if api_key is not None:
            return self._of_api_key(api_key)
        authorization = head.headers.get("authorization", "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            return self.of_token(authorization[len(_BEARER) :].strip())
        token = head.headers.get("x-feedback-token")
        return None if token is None else self.of_token(token)

    def of_token(self, token: object) -> Authority:
        """What a token says.

        Raises:
            Problem: It is not good.
        """
        if self._keys is None:
            raise _unauthorized("token-invalid", "tokens are not taken here")
        try:
            claims = _tokens.verify(token, keys=self._keys, audience=self._audience)
            return Authority(SpanRef.from_claims(claims.rated), claims)
        except TokenInvalid as error:
            raise _unauthorized(_TYPES.get(type(error).__name__, "token-invalid"), str(error)) from None

    def _of_api_key(self, api_key: str) -> Authority:
        digest = hashlib.sha256(api_key.encode("utf-8", "replace")).digest()
        # All of them are compared, whichever it is.
        if not sum([hmac.compare_digest(digest, known) for known in self._api_keys]):
            raise _unauthorized("api-key-invalid", "this is none of the API keys")
        return Authority()


_TYPES: Final[Mapping[str, str]] = {
    "TokenExpired": "token-expired",
    "TokenNotYetValid": "token-not-yet-valid",
    "TokenForeign": "token-foreign",
}


def missing() -> Problem:
    """There is neither a token nor an API key."""
    return _unauthorized("token-missing", "a feedback token must be given, in the body or in a header")


def not_allowed(field: str, rule: str) -> Problem:
    """The token is good, but not for this."""
    error: dict[str, Any] = {"field": field, "rule": rule}
    return Problem(403, "token-not-allowed", "The token does not allow this", f"{field} {rule}", errors=[error])


def _unauthorized(type: str, detail: str) -> Problem:
    return Problem(401, type, "No good token", detail, headers=_UNAUTHORIZED)
