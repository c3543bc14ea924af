"""Request signatures: RSA-PSS and Ed25519 keys, checked when they are loaded.

The signature covers `timestamp_ms + METHOD + path`, the path from `/trade-api/…` without its query
(RSA: PSS over SHA-256 with MGF1 and a salt of the digest's length; Ed25519: the text itself),
base64.
"""

from __future__ import annotations

import base64
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ssmd_kalshi.errors import ConfigurationError, KeyFileError

# Without a key nothing is signed, and a start need not wait for the library.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_KEY_FILE_BYTES = 65_536
MIN_RSA_BITS = 2048

log = structlog.get_logger(__name__)


class Signer:
    """Signs as one key. Its repr shows neither the key nor its identifier."""

    __slots__ = ("_clock_ms", "_key", "_key_id")

    def __init__(
        self,
        key_id: str,
        key: RSAPrivateKey | Ed25519PrivateKey,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        if not key_id or not key_id.isascii() or not key_id.isprintable():
            raise ConfigurationError(
                "KALSHI_API_KEY is empty or not printable: give the key's identifier"
            )
        self._key_id = key_id
        self._key = key
        self._clock_ms = clock_ms

    @property
    def algorithm(self) -> str:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

        return "rsa-pss" if isinstance(self._key, RSAPrivateKey) else "ed25519"

    def headers(self, method: str, path: str) -> dict[str, str]:
        """The three headers for one request; `path` begins with /trade-api and has no query."""
        timestamp = str(self._clock_ms())
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": timestamp,
            "KALSHI-ACCESS-SIGNATURE": self._sign(f"{timestamp}{method.upper()}{path}"),
        }

    def _sign(self, text: str) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

        message = text.encode()
        if isinstance(self._key, RSAPrivateKey):
            signature = self._key.sign(
                message,
                padding.PSS(
                    mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH
                ),
                hashes.SHA256(),
            )
        else:
            signature = self._key.sign(message)
        return base64.b64encode(signature).decode()

    def __repr__(self) -> str:
        return f"Signer({self.algorithm})"

    def __reduce__(self) -> str:
        raise TypeError("a Signer holds a private key and is not pickled")


def load_signer(key_id: str, path: Path | str) -> Signer:
    """Read a PEM private key. KeyFileError where it is absent, unreadable or of another kind; a
    warning in the log where strangers may read it, or a group may change it.

    That a group may read it is as tight as Kubernetes mounts a Secret under `fsGroup`.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise KeyFileError(
                f"{path} is not a file: KALSHI_PRIVATE_KEY_PATH names the key in PEM"
            )
        with path.open("rb") as file:
            pem = file.read(MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise KeyFileError(
            f"there is no private key at {path}: set KALSHI_PRIVATE_KEY_PATH to the file you "
            "downloaded when the key was made"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be opened"
        raise KeyFileError(f"the private key at {path} cannot be read: {reason}") from error
    if mode & (stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO):
        log.warning(
            "private key file is accessible to others, chmod 600 it",
            path=str(path),
            mode=f"{stat.S_IMODE(mode):04o}",
        )
    return Signer(key_id, parse_private_key(pem, str(path)))


def parse_private_key(pem: bytes, where: str) -> RSAPrivateKey | Ed25519PrivateKey:
    """An RSA (≥ 2048 bits) or Ed25519 key in PEM without a passphrase; else KeyFileError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if len(pem) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(f"{where} is larger than any private key: it must hold one key in PEM")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise KeyFileError(
            f"the private key in {where} has a passphrase: decrypt it (openssl pkey -in … -out …)"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The parser's own words may quote the file; they stay out of the message.
        raise KeyFileError(
            f"{where} is not a private key in PEM (it begins -----BEGIN PRIVATE KEY----- or "
            "-----BEGIN RSA PRIVATE KEY-----)"
        ) from error
    if isinstance(key, RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise KeyFileError(f"the RSA key in {where} is shorter than {MIN_RSA_BITS} bits")
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise KeyFileError(f"the private key in {where} is neither RSA nor Ed25519")
