"""Feedback tokens: who holds one may rate one response, for a while, and nothing else.

A token is a JWT (RFC 7519) whose claims say all that is needed, so that any process with the keys can check it, and no
store is shared. It is signed, not encrypted: its holder can read the claims, so user ids stand in it only as an HMAC.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from spanback import _settings
from spanback._token_keys import KEY_RULE, TokenKey, TokenKeys, decoded, encoded, loosely_decoded, read_keys
from spanback.errors import InvalidSetting, TokenExpired, TokenForeign, TokenInvalid, TokenNotYetValid

TOKEN_LIMIT_CHARACTERS: Final = 4_096
LEEWAY_S: Final = 5
"""How far the clocks of two machines may differ."""

EXPIRES_RULE: Final = "must be a whole number of seconds, from 1 to 31,622,400 (366 days)"
MAX_USES_RULE: Final = "must be a whole number from 1 to 1,000,000"
SIGNALS_RULE: Final = "must be a list of at most 16 names of signals"
TEXT_RULE: Final = "must be text, not empty, of at most 256 characters"
NUMBER_RULE: Final = "must be a whole number from {} to 2 ** {} - 1"
SAMPLED_RULE: Final = "must be True or False"
NAME_RULE: Final = "must be text, or None"
TAGS_RULE: Final = "must be a tuple of texts"

_EXPIRES_LIMIT_S: Final = 366 * 86_400
_USES_LIMIT: Final = 1_000_000
_SIGNALS_LIMIT: Final = 16
_NAME_LIMIT_CHARACTERS: Final = 64
_TEXT_LIMIT_CHARACTERS: Final = 256
_NUMBERS: Final = (("trace_id", 1, 128), ("span_id", 1, 64), ("start_time_ns", 0, 64), ("root_span_id", 0, 64))
"""Fields of a reference, the least that each may be, and of how many bits; None, too, where the least is 0."""
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_DECODE: Final = json.JSONDecoder().decode
_NO_TOKEN: Final = "this is no feedback token"
_FORGED: Final = "the token was not signed by any of these keys, or has been changed"

Rated = dict[str, Any]
"""Which span, and its dimensions, under the short names that `SpanRef` gives them."""


class Claims(NamedTuple):
    """What a token that was verified says.

    Attributes:
        rated: Which span, and its dimensions.
        issued_at: When it was issued, in seconds since the epoch.
        expires_at: When its time is over, in seconds since the epoch.
        signals: The only names of signals it is good for; None for all.
        bound: What stands for the user it is for; None for whoever holds it.
        max_uses: For how many signals it is good; None for any number.
        token_id: What its uses are counted by: the same for every spelling of the same token.
        key: Verified it.
    """

    rated: Rated
    issued_at: int
    expires_at: int
    signals: frozenset[str] | None
    bound: str | None
    max_uses: int | None
    token_id: str
    key: TokenKey

    def is_for(self, user_id: str | None) -> bool:
        """Whether the token is for this user; one that is bound to nobody is for everybody."""
        if self.bound is None:
            return True
        return user_id is not None and hmac.compare_digest(self.bound.encode(), self.key.bind(user_id).encode())


class Terms(NamedTuple):
    """What whoever issues a token may choose.

    Attributes:
        user_id: The only user who may use it.
        signals: The only names of signals it is good for.
        expires_in_s: For how long, in seconds.
        max_uses: For how many signals.
        audience: For whom; SPANBACK_TOKEN_AUDIENCE when None.
        keys: Keys as text, oldest to newest; SPANBACK_TOKEN_KEYS when None.
    """

    user_id: str | None = None
    signals: Sequence[str] | None = None
    expires_in_s: int = 86_400
    max_uses: int | None = None
    audience: str | None = None
    keys: Sequence[str] | None = None


def keys_of(keys: Sequence[str] | None) -> TokenKeys:
    """The keys given, else those of SPANBACK_TOKEN_KEYS.

    Raises:
        MissingTokenKey: There are none.
        InvalidSetting: One of them is no key.
    """
    texts = _settings.current().token_keys if keys is None else tuple(keys)
    for number, text in enumerate(cast("tuple[object, ...]", texts), 1):
        if not isinstance(text, str):
            raise InvalidSetting("keys", f"<key {number} of {len(texts)}>", KEY_RULE)
    return read_keys(texts)


def check_rated(ref: Any, names: Iterable[str]) -> None:
    """Checks what a token is to carry.

    Args:
        ref: The reference.
        names: Of its fields that are text.

    Raises:
        InvalidSetting: A field holds what no token can carry.
    """
    for field, least, bits in _NUMBERS:
        number = getattr(ref, field)
        if number is None and not least:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number < 1 << bits:
            rule = NUMBER_RULE.format(least, bits)
            raise InvalidSetting(field, number, rule if least else f"{rule}, or None")
    if not isinstance(ref.sampled, int):
        raise InvalidSetting("sampled", ref.sampled, SAMPLED_RULE)
    for field in names:
        if not isinstance(getattr(ref, field), (str, type(None))):
            raise InvalidSetting(field, getattr(ref, field), NAME_RULE)
    if not isinstance(ref.tags, tuple) or not all(isinstance(tag, str) for tag in cast("tuple[object, ...]", ref.tags)):
        raise InvalidSetting("tags", ref.tags, TAGS_RULE)


def issue(rated: Rated, core: Rated, terms: Terms) -> str:
    """A token.

    Args:
        rated: Which span, and its dimensions.
        core: The same without what can be spared where the token would become too long to be sent.
        terms: What it is good for.

    Raises:
        MissingTokenKey: There is no key that signs.
        InvalidSetting: A term breaks its rule, or one of the keys is no key.
    """
    user_id, signals, expires_in_s, max_uses, audience, keys = terms
    key = keys_of(keys).newest()
    now = int(time.time())
    if expires_in_s.__class__ is not int or not 0 < expires_in_s <= _EXPIRES_LIMIT_S:
        raise InvalidSetting("expires_in_s", expires_in_s, EXPIRES_RULE)
    claims: dict[str, Any] = {
        "iat": now,
        "exp": now + expires_in_s,
        "aud": _checked_text("audience", _settings.current().token_audience if audience is None else audience),
    }
    if user_id is not None:
        claims["u"] = key.bind(_checked_text("user_id", user_id))
    if signals is not None:
        claims["s"] = _checked_signals(signals)
    if max_uses is not None:
        if max_uses.__class__ is not int or not 0 < max_uses <= _USES_LIMIT:
            raise InvalidSetting("max_uses", max_uses, MAX_USES_RULE)
        claims["k"] = max_uses
        claims["jti"] = encoded(secrets.token_bytes(8)).decode()
    token = _signed(key, rated | claims)
    return token if len(token) <= TOKEN_LIMIT_CHARACTERS else _signed(key, core | claims)


def verify(token: object, *, keys: TokenKeys, audience: str | None = None) -> Claims:
    """What a token says, once it is known to be good.

    Args:
        token: The text that somebody sent.
        keys: The keys that may have signed it.
        audience: For whom it must be; not asked when None.

    Raises:
        TokenInvalid: It is no token of these keys. `TokenExpired`, `TokenNotYetValid` and `TokenForeign` say more.
    """
    if not isinstance(token, str) or len(token) > TOKEN_LIMIT_CHARACTERS or not token.isascii():
        raise TokenInvalid(_NO_TOKEN)
    signed, _, signature = token.encode().rpartition(b".")
    header, _, payload = signed.partition(b".")
    key = keys.by_header(header)
    if key is None:
        raise TokenInvalid(_FORGED)
    try:
        is_good = key.verifies(signed, decoded(signature))
    except ValueError:
        is_good = False
    if not is_good:
        raise TokenInvalid(_FORGED)
    return _checked(_read(payload), audience, signature, key)


def _signed(key: TokenKey, claims: Rated) -> str:
    return key.sign(_ENCODE(claims).encode("utf-8", "replace"))


def _read(payload: bytes) -> Rated:
    """The claims of a payload that one of the keys has signed."""
    try:
        claims: object = _DECODE(loosely_decoded(payload).decode())
    except (ValueError, RecursionError):
        raise TokenInvalid(_NO_TOKEN) from None
    if not isinstance(claims, dict):
        raise TokenInvalid(_NO_TOKEN)
    return cast("Rated", claims)


def _checked(claims: Rated, audience: str | None, signature: bytes, key: TokenKey) -> Claims:
    """The claims in their types, of a token that is good now. Whoever has the key may have signed anything."""
    issued_at, expires_at = claims.pop("iat", None), claims.pop("exp", None)
    if issued_at.__class__ is not int or expires_at.__class__ is not int:
        raise TokenInvalid(_NO_TOKEN)
    now = time.time()
    if now >= expires_at + LEEWAY_S:
        raise TokenExpired("the token has expired")
    if now < max(issued_at, _whole(claims.pop("nbf", 0))) - LEEWAY_S:
        raise TokenNotYetValid("the token is not valid yet")
    whom = claims.pop("aud", None)
    if audience is not None and whom != audience:
        raise TokenForeign("the token is for another audience")
    signals, bound, max_uses = claims.pop("s", None), claims.pop("u", None), claims.pop("k", None)
    token_id = claims.pop("jti", None)
    if not isinstance(bound, (str, type(None))) or not isinstance(signals, (list, type(None))):
        raise TokenInvalid(_NO_TOKEN)
    return Claims(
        claims,
        issued_at,
        expires_at,
        None if signals is None else frozenset(map(str, cast("list[object]", signals))),
        bound,
        None if max_uses is None else _whole(max_uses),
        # There is one spelling of a signature, and without the rest it is of no use to anybody.
        token_id if isinstance(token_id, str) else signature[:22].decode(),
        key,
    )


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TokenInvalid(_NO_TOKEN)
    return value


def _checked_text(field: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_LIMIT_CHARACTERS:
        raise InvalidSetting(field, value, TEXT_RULE)
    return value


def _is_name(name: object) -> bool:
    """Whether it may name a signal; what cannot, such as a text of emoji, could make a token too long to be taken."""
    return isinstance(name, str) and 0 < len(name) <= _NAME_LIMIT_CHARACTERS and name.isascii() and name.isprintable()


def _checked_signals(signals: object) -> list[str]:
    if isinstance(signals, str) or not isinstance(signals, (list, tuple, set, frozenset)):
        raise InvalidSetting("signals", signals, SIGNALS_RULE)
    names = list(cast("Sequence[object]", signals))
    if len(names) > _SIGNALS_LIMIT or not all(map(_is_name, names)):
        raise InvalidSetting("signals", signals, SIGNALS_RULE)
    return cast("list[str]", names)
