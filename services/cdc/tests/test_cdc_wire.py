"""Bytes of the NATS protocol, cut anywhere; credentials and encryption."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from hypothesis import given
from hypothesis import strategies as st
from nats_security import KINDS, security
from pydantic import SecretStr

from ssmd_cdc.publish.wire import Wire, WireLost
from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.settings import NatsSettings
from ssmd_stack.nats import NatsServer

ACCESS = NatsAccess.of(NatsSettings())

MESSAGES = (
    b'INFO {"server_id":"x","max_payload":4096}\r\n'
    b"PING\r\n"
    b"MSG _INBOX.a.0 1 3\r\nabc\r\n"
    b"MSG _INBOX.a.12 1 0\r\n\r\n"
    b"+OK\r\n"
    b"MSG _INBOX.a.13 1 4\r\n\r\n\r\n\r\n"
    b"HMSG _INBOX.a.14 1 30 33\r\nNATS/1.0 503 No Responders\r\n\r\nabc\r\n"
    b"PONG\r\n"
    b"MSG _INBOX.a.15 1 2\r\nok\r\n"
)
REPLIES = [(0, b"abc"), (12, b""), (13, b"\r\n\r\n"), (14, b"abc"), (15, b"ok")]


def feed(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], list[str], Wire]:
    replies: list[tuple[int, bytes]] = []
    lost: list[str] = []

    async def run() -> Wire:
        wire = Wire(ACCESS, replies.extend, lost.append, 1 << 20)
        for piece in pieces:
            wire.data_received(piece)
        return wire

    return replies, lost, asyncio.run(run())


@given(st.sets(st.integers(1, len(MESSAGES) - 1)))
def test_replies_survive_any_cut(cuts: set[int]) -> None:
    at = [0, *sorted(cuts), len(MESSAGES)]
    pieces = [MESSAGES[a:b] for a, b in pairwise(at)]
    replies, lost, wire = feed(pieces)
    assert replies == REPLIES
    assert lost == []
    assert wire.max_payload == 4096


def test_an_error_of_the_server_ends_the_connection_with_its_words() -> None:
    _, lost, wire = feed([b"-ERR 'Maximum Payload Violation'\r\n"])
    assert lost == ["Maximum Payload Violation"]
    assert wire.lost


def test_it_ends_once() -> None:
    async def run() -> list[Any]:
        lost: list[str] = []
        wire = Wire(ACCESS, lambda _: None, lost.append, 1 << 20)
        wire.connection_lost(None)
        wire.connection_lost(OSError("again"))
        wire.data_received(b"-ERR 'late'\r\n")
        return lost

    assert asyncio.run(run()) == ["the server closed the connection"]


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("by", ["password", "token"])
async def test_credentials_and_encryption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool, by: str
) -> None:
    options: dict[str, Any] = {
        "authorization": (
            {"token": "s3/cret"} if by == "token" else {"user": "cdc", "password": "s3/cret"}
        )
    }
    if encrypted:
        authority = Authority()
        pem, key = authority.issue(tmp_path, "server")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file(tmp_path)))
        options["tls"] = {"cert_file": str(pem), "key_file": str(key)}
    right, wrong = ("s3%2Fcret", "x") if by == "token" else ("cdc:s3%2Fcret", "cdc:x")
    async with NatsServer(tmp_path / "nats", options=options) as server:

        async def open_as(credentials: str) -> Wire:
            url = SecretStr(f"nats://{credentials}@127.0.0.1:{server.port}")
            access = NatsAccess.of(NatsSettings(nats_url=url))
            wire = Wire(access, replies.extend, lost.append, 1 << 20)
            await wire.open(access.servers[0], "ssmd-cdc-test")
            return wire

        replies: list[tuple[int, bytes]] = []
        lost: list[str] = []
        wire = await open_as(right)
        wire.publish("nobody.listens", 7, "NATS/1.0\r\n\r\n", b"x")
        wire.flush()
        async with asyncio.timeout(30):
            while not replies:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert replies == [(7, b"")]
        assert lost == []
        wire.close()
        with pytest.raises(WireLost, match="Authorization Violation"):
            await open_as(wrong)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_opens_with_whatever_credentials_the_settings_name(
    kind: str, tmp_path: Path
) -> None:
    asked = security(kind, tmp_path)
    async with NatsServer(tmp_path / "nats", options=dict(asked.options)) as server:

        async def opened(given: Mapping[str, Any]) -> Wire:
            settings = NatsSettings.model_validate({"nats_url": server.url, **given})
            access = NatsAccess.of(settings)
            wire = Wire(access, replies.extend, lambda _: None, 1 << 20)
            await wire.open(access.servers[0], "ssmd-cdc-test")
            return wire

        replies: list[tuple[int, bytes]] = []
        wire = await opened(asked.right)
        wire.publish("nobody.listens", 7, "NATS/1.0\r\n\r\n", b"x")
        wire.flush()
        async with asyncio.timeout(30):
            while not replies:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        wire.close()
        if asked.wrong:
            with pytest.raises(WireLost):
                await opened(asked.wrong)
