"""Every way in which NATS may ask who we are: the server's options, and the settings that fit."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nkeys import PREFIX_BYTE_ACCOUNT, PREFIX_BYTE_OPERATOR, PREFIX_BYTE_USER

KINDS = ("user", "token", "nkey", "creds", "certificate", "inbox")


@dataclass(frozen=True)
class Security:
    """`options` of the server; `right` and `wrong` settings, by variable in lower case."""

    options: Mapping[str, Any]
    right: Mapping[str, Any]
    wrong: Mapping[str, Any] = field(default_factory=dict)


def security(kind: str, directory: Path) -> Security:
    """One of KINDS, with its files in `directory`."""
    match kind:
        case "user":
            options = {"authorization": {"user": "ssmd", "password": "s3/cret"}}
            right = {"nats_user": "ssmd", "nats_password": "s3/cret"}
            return Security(options, right, {"nats_user": "ssmd", "nats_password": "x"})
        case "token":
            options = {"authorization": {"token": "s3/cret"}}
            return Security(options, {"nats_token": "s3/cret"}, {"nats_token": "x"})
        case "nkey":
            mine, others = _pair(PREFIX_BYTE_USER), _pair(PREFIX_BYTE_USER)
            options = {"authorization": {"users": [{"nkey": _public(mine)}]}}
            return Security(
                options,
                {"nats_nkey_path": _file(directory / "mine.nk", bytes(mine.seed))},
                {"nats_nkey_path": _file(directory / "other.nk", bytes(others.seed))},
            )
        case "creds":
            options, right_creds, wrong_creds = _operator(directory)
            return Security(
                options, {"nats_creds_path": right_creds}, {"nats_creds_path": wrong_creds}
            )
        case "certificate":
            authority = Authority()
            server, client = authority.issue(directory, "server"), authority.issue(directory, "us")
            ca = _file(directory / "ca.pem", authority.pem)
            tls = {"cert_file": server[0], "key_file": server[1], "ca_file": ca, "verify": True}
            ours = {"nats_cert_path": client[0], "nats_key_path": client[1]}
            return Security({"tls": tls}, {"nats_ca_path": ca, **ours}, {"nats_ca_path": ca})
        case "inbox":
            rights = {"publish": [">"], "subscribe": ["_SSMD.>"]}
            user = {"user": "ssmd", "password": "x", "permissions": rights}
            options = {"authorization": {"users": [user]}}
            right = {"nats_user": "ssmd", "nats_password": "x", "nats_inbox_prefix": "_SSMD"}
            return Security(options, right)
        case _:
            raise ValueError(kind)


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        made = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = made.public_bytes(serialization.Encoding.PEM)

    def issue(self, directory: Path, name: str) -> tuple[str, str]:
        """Files of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        made = (
            _builder(subject, self._name, key)
            .add_extension(addresses, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pem = made.public_bytes(serialization.Encoding.PEM)
        return _file(directory / f"{name}.pem", pem), _file(directory / f"{name}.key", private)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _operator(directory: Path) -> tuple[dict[str, Any], str, str]:
    """A server that trusts an operator's JWTs, creds that it takes and creds that it does not."""
    operator, account, system = (
        _pair(prefix) for prefix in (PREFIX_BYTE_OPERATOR, PREFIX_BYTE_ACCOUNT, PREFIX_BYTE_ACCOUNT)
    )
    stranger = _pair(PREFIX_BYTE_ACCOUNT)
    unlimited = {"conn": -1, "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1}
    limits = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, **unlimited}
    accounts = {
        _public(account): _jwt(operator, account, "account", {"limits": limits}),
        _public(system): _jwt(operator, system, "account", {"limits": unlimited}),
    }
    options = {
        "operator": _jwt(operator, operator, "operator", {"system_account": _public(system)}),
        "system_account": _public(system),
        "resolver": "MEMORY",
        "resolver_preload": accounts,
    }
    return (
        options,
        _creds(directory / "ssmd.creds", account),
        _creds(directory / "x.creds", stranger),
    )


def _creds(path: Path, account: nkeys.KeyPair) -> str:
    user = _pair(PREFIX_BYTE_USER)
    jwt = _jwt(account, user, "user", {"subs": -1, "data": -1, "payload": -1})
    return _file(
        path,
        b"-----BEGIN NATS USER JWT-----\n%b\n------END NATS USER JWT------\n\n"
        b"-----BEGIN USER NKEY SEED-----\n%b\n------END USER NKEY SEED------\n"
        % (jwt.encode(), bytes(user.seed)),
    )


def _jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, kind: str, claims: dict[str, Any]) -> str:
    """A token of NATS' second format (nats-io/jwt, ADR-14)."""
    body: dict[str, Any] = {
        "iat": int(time.time()),
        "iss": _public(issuer),
        "name": kind,
        "sub": _public(subject),
        "nats": {**claims, "type": kind, "version": 2},
    }
    digest = hashlib.new("sha512_256", json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, body))
    return f"{signed}.{_encoded(issuer.sign(signed.encode()))}"


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _pair(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix)))


def _public(pair: nkeys.KeyPair) -> str:
    return bytes(pair.public_key).decode()


def _file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)
