"""Keys that sign and verify feedback tokens: how they are written, and what they do with bytes.

A key is one line of text, `<algorithm>:<base64url>`. Its algorithm stands in it, so no token can choose one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from spanback._settings import TOKEN_KEYS
from spanback.errors import InvalidSetting, MissingTokenKey

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

HS256: Final = "hs256"
ED25519: Final = "ed25519"
ED25519_PUBLIC: Final = "ed25519-public"

KEY_RULE: Final = (
    f"must be '{HS256}:' with at least 32 bytes in base64url, or '{ED25519}:' or '{ED25519_PUBLIC}:' with 32 bytes; "
    "`spanback keys new` makes one"
)
EDDSA_RULE: Final = f"must be an {HS256} key unless cryptography is installed: pip install 'spanback[eddsa]'"
NO_KEYS: Final = (
    f"no key for feedback tokens: put what `spanback keys new` prints into {TOKEN_KEYS}, or pass keys=[...]"
)
NO_SIGNING_KEY: Final = f"no key in {TOKEN_KEYS} signs, they only verify: `spanback keys new` makes one that does"

_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4


class TokenKey:
    """One key. Shows nothing of itself.

    Attributes:
        key_id: Which key it is, by its digest; a token names it.
        header: What every token of this key begins with, base64url.
        signs: Whether it can sign; a public key only verifies.
    """

    __slots__ = ("_algorithm", "_binding", "_key", "header", "key_id", "signs")

    def __init__(self, algorithm: Algorithm, key: Any, name: str, public: bytes, *, signs: bool = True) -> None:
        digest = hashlib.sha256(b"spanback token key\0" + public).digest()
        self._algorithm = algorithm
        self._key = key
        self._binding = hmac.digest(public, b"spanback token user", "sha256")
        self.key_id = encoded(digest[:_ID_BYTES]).decode()
        self.header = encoded(f'{{"alg":"{name}","kid":"{self.key_id}"}}'.encode())
        self.signs = signs

    def __repr__(self) -> str:
        return f"<TokenKey {self.key_id}>"

    def sign(self, payload: bytes) -> str:
        """A token with this payload, in JWS's compact form."""
        signed = b"%b.%b" % (self.header, encoded(payload))
        return (b"%b.%b" % (signed, encoded(self._algorithm.sign(signed, self._key)))).decode()

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is of this key; takes the same time for every wrong one."""
        return self._algorithm.verify(signed, self._key, signature)

    def bind(self, user_id: str) -> str:
        """What stands for a user in tokens of this key: an HMAC of 16 bytes, base64url.

        With a public key in a verifying process, whoever holds that key can try out user ids.
        """
        return encoded(hmac.digest(self._binding, user_id.encode("utf-8", "replace"), "sha256")[:16]).decode()


class TokenKeys:
    """Several keys, oldest to newest. Shows nothing of them."""

    __slots__ = ("_by_header", "_newest")

    def __init__(self, keys: Sequence[TokenKey]) -> None:
        self._by_header = {key.header: key for key in keys}
        self._newest = next((key for key in reversed(keys) if key.signs), None)

    def __repr__(self) -> str:
        return f"<TokenKeys {' '.join(key.key_id for key in self._by_header.values())}>"

    def newest(self) -> TokenKey:
        """The newest that signs.

        Raises:
            MissingTokenKey: None of them does.
        """
        if self._newest is None:
            raise MissingTokenKey(NO_SIGNING_KEY)
        return self._newest

    def by_header(self, header: bytes) -> TokenKey | None:
        """The key whose tokens begin so, byte for byte: another algorithm or an unknown key finds none."""
        return self._by_header.get(header)


@lru_cache(maxsize=16)
def read_keys(texts: tuple[str, ...]) -> TokenKeys:
    """Keys from their texts, oldest to newest.

    Raises:
        InvalidSetting: One of them is no key. The message says which by its number, and shows nothing of it.
        MissingTokenKey: There are none.
    """
    if not texts:
        raise MissingTokenKey(NO_KEYS)
    return TokenKeys([_read(text, f"<key {number} of {len(texts)}>") for number, text in enumerate(texts, 1)])


def new_key(*, eddsa: bool = False) -> str:
    """A new key, as text.

    Args:
        eddsa: An Ed25519 key instead of one for HMAC-SHA256.

    Raises:
        InvalidSetting: `cryptography` is needed and not installed.
    """
    secret = encoded(secrets.token_bytes(_KEY_BYTES)).decode()
    text = f"{ED25519 if eddsa else HS256}:{secret}"
    read_keys.__wrapped__((text,))
    return text


def public_key(text: str) -> str:
    """The text of the public key of an Ed25519 key, for processes that only verify.

    Raises:
        InvalidSetting: It is no Ed25519 key.
    """
    kind, _, value = text.partition(":")
    read_keys.__wrapped__((text,))
    if kind != ED25519:
        raise InvalidSetting("key", f"<{HS256} key>", f"must be an {ED25519} key: only these have a public half")
    return f"{ED25519_PUBLIC}:{encoded(_public_bytes(_private(decoded(value.encode())))).decode()}"


def encoded(value: bytes) -> bytes:
    """Base64url without padding."""
    return b2a_base64(value, newline=False).translate(_URLSAFE, b"=")


def decoded(value: bytes) -> bytes:
    """What base64url without padding stands for.

    Raises:
        ValueError: It is none, or not in the one form that encoding gives.
    """
    found = loosely_decoded(value)
    if encoded(found) != value:
        raise Base64Error("not canonical")
    return found


def loosely_decoded(value: bytes) -> bytes:
    """The same of what is signed, so that nobody can spell it in another way.

    Raises:
        ValueError: It is no base64url.
    """
    return a2b_base64(value.translate(_FROM_URLSAFE) + b"==")


_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URLSAFE: Final = bytes.maketrans(b"-_", b"+/")
# `base64` takes several times as long, with the same functions behind it.


def _read(text: str, shown: str) -> TokenKey:
    kind, _, value = text.strip().partition(":")
    try:
        raw = decoded(value.rstrip("=").encode("ascii"))
    except ValueError:
        raw = b""
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415 - it imports cryptography, which takes its time

    if kind == HS256 and len(raw) >= _KEY_BYTES:
        return TokenKey(HMACAlgorithm(HMACAlgorithm.SHA256), raw, "HS256", raw)
    if kind not in {ED25519, ED25519_PUBLIC} or len(raw) != _KEY_BYTES:
        raise InvalidSetting(TOKEN_KEYS, shown, KEY_RULE)
    if find_spec("cryptography") is None:
        raise InvalidSetting(TOKEN_KEYS, shown, EDDSA_RULE)
    return _read_ed25519(kind, raw)


def _read_ed25519(kind: str, raw: bytes) -> TokenKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - an extra
    from jwt.algorithms import OKPAlgorithm  # noqa: PLC0415 - as above

    signs = kind == ED25519
    key = _private(raw) if signs else Ed25519PublicKey.from_public_bytes(raw)
    return TokenKey(OKPAlgorithm(), key, "EdDSA", _public_bytes(key) if signs else raw, signs=signs)


def _private(raw: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - an extra

    return Ed25519PrivateKey.from_private_bytes(raw)


def _public_bytes(private: Any) -> bytes:
    return private.public_key().public_bytes_raw()
