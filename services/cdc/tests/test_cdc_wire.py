"""Bytes of the NATS protocol, cut anywhere."""

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ssmd_cdc.wire import Wire

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
        wire = Wire(replies.extend, lost.append)
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
        wire = Wire(lambda _: None, lost.append)
        wire.connection_lost(None)
        wire.connection_lost(OSError("again"))
        wire.data_received(b"-ERR 'late'\r\n")
        return lost

    assert asyncio.run(run()) == ["the server closed the connection"]
