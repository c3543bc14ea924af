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

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.settings import NatsSettings
from ssmd_stack.nats import NatsServer
from ssmd_stream.publish.wire import Wire, WireLost

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


async def outcome(wire: Wire) -> tuple[list[tuple[int, bytes]], str | None]:
    """The replies that came, and why the connection was lost if it was."""
    taken: list[tuple[int, bytes]] = []
    try:
        while replies := await wire.replies(0):
            taken += replies
    except WireLost as error:
        return taken, str(error)
    return taken, None


def feed(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], str | None, Wire]:
    async def run() -> tuple[list[tuple[int, bytes]], str | None, Wire]:
        wire = Wire(ACCESS, None, 1 << 20)
        for piece in pieces:
            wire.data_received(piece)
        return *await outcome(wire), wire

    return asyncio.run(run())


@given(st.sets(st.integers(1, len(MESSAGES) - 1)))
def test_replies_survive_any_cut(cuts: set[int]) -> None:
    at = [0, *sorted(cuts), len(MESSAGES)]
    pieces = [MESSAGES[a:b] for a, b in pairwise(at)]
    replies, lost, wire = feed(pieces)
    assert replies == REPLIES
    assert lost is None
    assert wire.max_payload == 4096


def test_an_error_of_the_server_ends_the_connection_with_its_words() -> None:
    _, lost, wire = feed([b"-ERR 'Maximum Payload Violation'\r\n"])
    assert lost == "Maximum Payload Violation"
    assert wire.lost


def test_what_came_before_it_ended_is_taken_first() -> None:
    replies, lost, _ = feed([b"MSG _INBOX.a.0 1 3\r\nabc\r\n-ERR 'Stale Connection'\r\n"])
    assert (replies, lost) == ([(0, b"abc")], "Stale Connection")


def test_the_first_reason_stays() -> None:
    async def run() -> str | None:
        wire = Wire(ACCESS, None, 1 << 20)
        wire.connection_lost(None)
        wire.connection_lost(OSError("again"))
        wire.data_received(b"-ERR 'late'\r\n")
        return (await outcome(wire))[1]

    assert asyncio.run(run()) == "the server closed the connection"


def test_a_right_that_is_missing_is_told_as_such() -> None:
    text = b"-ERR 'Permissions Violation for Publish to \"cdc.x\"'\r\n"

    async def run() -> WireLost:
        wire = Wire(ACCESS, None, 1 << 20)
        wire.data_received(text)
        with pytest.raises(WireLost) as raised:
            await wire.replies(0)
        return raised.value

    lost = asyncio.run(run())
    assert lost.denied
    assert "may not publish to cdc.x" in str(lost)


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
            wire = Wire(access, None, 1 << 20)
            await wire.open(access.servers[0], "ssmd-test")
            return wire

        wire = await open_as(right)
        wire.publish("nobody.listens", 7, "NATS/1.0\r\n\r\n", b"x")
        wire.flush()
        assert await wire.replies(30) == [(7, b"")]
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
            wire = Wire(access, None, 1 << 20)
            await wire.open(access.servers[0], "ssmd-test")
            return wire

        wire = await opened(asked.right)
        wire.publish("nobody.listens", 7, "NATS/1.0\r\n\r\n", b"x")
        wire.flush()
        assert await wire.replies(30) == [(7, b"")]
        wire.close()
        if asked.wrong:
            with pytest.raises(WireLost):
                await opened(asked.wrong)
