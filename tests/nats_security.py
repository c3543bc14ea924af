"""Every way in which NATS may ask who we are: the server's options, and the settings that fit."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nkeys
from certificates import Authority
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
            ca = str(authority.file(directory))
            files = {"cert_file": str(server[0]), "key_file": str(server[1]), "ca_file": ca}
            ours = {"nats_cert_path": client[0], "nats_key_path": client[1]}
            return Security(
                {"tls": {**files, "verify": True}},
                {"nats_ca_path": ca, **ours},
                {"nats_ca_path": ca},
            )
        case "inbox":
            rights = {"publish": [">"], "subscribe": ["_SSMD.>"]}
            user = {"user": "ssmd", "password": "x", "permissions": rights}
            options = {"authorization": {"users": [user]}}
            right = {"nats_user": "ssmd", "nats_password": "x", "nats_inbox_prefix": "_SSMD"}
            return Security(options, right)
        case _:
            raise ValueError(kind)


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
    # Another user of the same account, for who replaces the first.
    _creds(directory / "second.creds", account)
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
