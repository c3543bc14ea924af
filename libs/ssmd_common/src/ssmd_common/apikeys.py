"""API keys: `sk_<env>_<prefix>_<secret>`.

The prefix finds the row in `api_keys`; the SHA-256 of the whole text proves the key. A secret has
256 bits, so that a plain hash is enough and needs no salt.
"""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from typing import Final, NamedTuple

SCOPES: Final = ("read", "admin")

_ALPHABET: Final = string.ascii_letters + string.digits
_PREFIX_LENGTH: Final = 10
_SECRET_LENGTH: Final = 43

# Only the secret may contain `_`, and it comes last: no part can be misread.
_FORM = re.compile(r"sk_([a-z0-9-]{1,32})_([A-Za-z0-9]{4,32})_([A-Za-z0-9_-]{16,128})", re.ASCII)
_ENVIRONMENT = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `text` is shown to its user once and kept nowhere."""

    text: str
    prefix: str
    hash: bytes

    def __repr__(self) -> str:
        return f"NewKey(prefix={self.prefix!r})"


class ParsedKey(NamedTuple):
    """A key as a client sent it."""

    environment: str
    prefix: str
    hash: bytes


def generate(environment: str) -> NewKey:
    """A new key for an environment such as `live` or `local`; ValueError if that has other
    characters than `a-z 0-9 -`."""
    if not _ENVIRONMENT.fullmatch(environment):
        raise ValueError(f"{environment!r} is not an environment's name: a-z, 0-9 and dashes")
    prefix = _random(_PREFIX_LENGTH)
    text = f"sk_{environment}_{prefix}_{_random(_SECRET_LENGTH)}"
    return NewKey(text, prefix, _hash(text))


def parse(text: str) -> ParsedKey | None:
    """The parts of a key's text; None if it is none."""
    match = _FORM.fullmatch(text)
    return ParsedKey(match[1], match[2], _hash(text)) if match else None


def matches(key: ParsedKey, stored_hash: bytes) -> bool:
    """Whether a key is the one that was stored, compared in constant time."""
    return hmac.compare_digest(key.hash, stored_hash)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
