"""Signatures that the exchange would accept, and key files that it would not."""

import base64
import os
import pickle
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ssmd_kalshi.errors import ConfigurationError, KeyFileError
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.signing import Signer, load_signer

KEY_ID = "a952bcbe-ec3b-4b5b-b8f9-11dae589608c"


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def pem(key, password: bytes | None = None, *, pkcs1: bool = False) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL
        if pkcs1
        else serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "kalshi.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_rsa_signature_verifies(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    for pkcs1 in (False, True):
        signer = load_signer(KEY_ID, key_file(tmp_path, pem(rsa_key, pkcs1=pkcs1)))
        headers = signer.headers("get", "/trade-api/v2/markets")
        assert headers["KALSHI-ACCESS-KEY"] == KEY_ID
        text = headers["KALSHI-ACCESS-TIMESTAMP"] + "GET/trade-api/v2/markets"
        rsa_key.public_key().verify(
            base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True),
            text.encode(),
            padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32),
            hashes.SHA256(),
        )


def test_ed25519_signature_verifies(tmp_path: Path, ed_key: ed25519.Ed25519PrivateKey) -> None:
    signer = load_signer(KEY_ID, key_file(tmp_path, pem(ed_key)))
    assert signer.algorithm == "ed25519"
    headers = signer.headers("GET", "/trade-api/ws/v2")
    text = headers["KALSHI-ACCESS-TIMESTAMP"] + "GET/trade-api/ws/v2"
    ed_key.public_key().verify(
        base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True), text.encode()
    )


def test_timestamp_is_milliseconds(ed_key: ed25519.Ed25519PrivateKey) -> None:
    signer = Signer(KEY_ID, ed_key, clock_ms=lambda: 1_700_000_000_123)
    assert signer.headers("GET", "/x")["KALSHI-ACCESS-TIMESTAMP"] == "1700000000123"


async def test_requests_are_signed_without_their_query(
    exchange, ed_key: ed25519.Ed25519PrivateKey
) -> None:
    from aiohttp import web

    exchange.otherwise = lambda _: web.json_response({"markets": [], "cursor": ""})
    signer = Signer(KEY_ID, ed_key)
    async with KalshiRest(exchange.base_url, signer=signer) as rest:
        async for _ in rest.markets(status="open"):
            pass
    [request] = exchange.requests
    assert request.query_string
    text = request.headers["KALSHI-ACCESS-TIMESTAMP"] + "GET/trade-api/v2/markets"
    ed_key.public_key().verify(
        base64.b64decode(request.headers["KALSHI-ACCESS-SIGNATURE"]), text.encode()
    )


def test_nothing_secret_is_shown(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    signer = load_signer(KEY_ID, key_file(tmp_path, pem(rsa_key)))
    for shown in (repr(signer), str(signer), f"{signer}"):
        assert shown == "Signer(rsa-pss)"
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a private key"),
        (
            b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
            "not a private key",
        ),
        (b"secret" * 20_000, "larger than any"),
    ],
)
def test_files_that_are_no_key(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(KeyFileError, match=words) as caught:
        load_signer(KEY_ID, key_file(tmp_path, content))
    assert "c2VjcmV0" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_keys_of_other_kinds(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(KeyFileError, match="passphrase"):
        load_signer(KEY_ID, key_file(tmp_path, pem(rsa_key, b"hunter2")))
    with pytest.raises(KeyFileError, match="neither RSA nor Ed25519"):
        load_signer(KEY_ID, key_file(tmp_path, pem(ec.generate_private_key(ec.SECP256R1()))))
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(KeyFileError, match="not a private key"):
        load_signer(KEY_ID, key_file(tmp_path, public))


def test_weak_rsa_key(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(KeyFileError, match="shorter than 2048"):
        load_signer(KEY_ID, key_file(tmp_path, pem(weak)))


def test_missing_file_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="KALSHI_PRIVATE_KEY_PATH"):
        load_signer(KEY_ID, tmp_path / "absent.pem")
    with pytest.raises(KeyFileError, match="not a file"):
        load_signer(KEY_ID, tmp_path)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = key_file(tmp_path, b"x")

    def denied(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(KeyFileError, match="Permission denied"):
        load_signer(KEY_ID, path)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o440, False), (0o460, True), (0o644, True)]
)
def test_open_permissions_are_warned_about(
    tmp_path: Path, ed_key: ed25519.Ed25519PrivateKey, mode: int, warned: bool
) -> None:
    with structlog.testing.capture_logs() as logs:
        load_signer(KEY_ID, key_file(tmp_path, pem(ed_key), mode))
    assert any("chmod 600" in entry["event"] for entry in logs) is warned
    assert KEY_ID not in str(logs)


@pytest.mark.parametrize("key_id", ["", "a\nb", "ключ"])
def test_key_identifier_is_checked(key_id: str, ed_key: ed25519.Ed25519PrivateKey) -> None:
    with pytest.raises(ConfigurationError, match="KALSHI_API_KEY"):
        Signer(key_id, ed_key)
