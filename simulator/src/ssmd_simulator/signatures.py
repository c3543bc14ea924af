"""Checks the exchange's request signatures, and makes keys for those who will sign."""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

TOLERANCE_SECONDS = 30


class UnsupportedKey(ValueError):
    """The key file holds neither an RSA nor an Ed25519 private key."""


@dataclass(slots=True)
class Keyring:
    """The public keys the exchange knows. While it knows none, any signed request will do."""

    keys: dict[str, PublicKey] = field(default_factory=dict)

    def refusal(self, headers: Mapping[str, str], method: str, path: str, now: float) -> str | None:
        """Why a request is not authenticated; None if it is."""
        key_id = headers.get("KALSHI-ACCESS-KEY")
        signature = headers.get("KALSHI-ACCESS-SIGNATURE")
        stamp = headers.get("KALSHI-ACCESS-TIMESTAMP")
        if not (key_id and signature and stamp):
            return "missing KALSHI-ACCESS-KEY, KALSHI-ACCESS-SIGNATURE or KALSHI-ACCESS-TIMESTAMP"
        if not self.keys:
            return None
        key = self.keys.get(key_id)
        if key is None:
            return "unknown KALSHI-ACCESS-KEY"
        if not stamp.isdigit() or abs(int(stamp) / 1000 - now) > TOLERANCE_SECONDS:
            return "KALSHI-ACCESS-TIMESTAMP is not a current time in milliseconds"
        try:
            raw = base64.b64decode(signature, validate=True)
            _verify(key, raw, f"{stamp}{method}{path}".encode())
        except (InvalidSignature, binascii.Error):
            return "KALSHI-ACCESS-SIGNATURE does not fit the request"
        return None


def _verify(key: PublicKey, signature: bytes, text: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
        key.verify(signature, text, pss, hashes.SHA256())
    else:
        key.verify(signature, text)


def key_at(path: Path, kind: str) -> PublicKey:
    """The public half of the private key at `path`; makes one (mode 0600) if there is none."""
    if not path.exists():
        private: PrivateKey = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if kind == "rsa"
            else ed25519.Ed25519PrivateKey.generate()
        )
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
    loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(loaded, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise UnsupportedKey(f"{path} holds neither an RSA nor an Ed25519 private key")
    return loaded.public_key()
