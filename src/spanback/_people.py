"""What is kept of people: a keyed hash, from which nobody without the key can find out who it is."""

from __future__ import annotations


def keyed_hash(person_id: str, key: bytes) -> str:
    """HMAC-SHA256 of an id, 64 hex digits."""
    import hmac  # noqa: PLC0415 - it loads OpenSSL, for milliseconds that most apps need not spend

    return hmac.digest(key, person_id.encode(), "sha256").hex()
