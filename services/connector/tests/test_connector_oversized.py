"""What is larger than NATS takes costs itself alone."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.oversized import cut
from ssmd_stream.market.messages import (
    VERSION,
    Captured,
    TradeMessage,
    UnreadableMessage,
    decoded,
    encoded,
)

HEAD = {
    "v": VERSION,
    "connector": "0",
    "session": "a1",
    "frame": 7,
    "received_at": "2026-11-29T17:00:00.000000Z",
}


def trade(bytes_of_evidence: int) -> TradeMessage:
    body = b'{"note":"%b"}' % (b"x" * bytes_of_evidence)
    return TradeMessage(
        **HEAD,
        source="ws",
        ticker="KXA-1",
        trade_id="t1",
        price="0.4200",
        count="1.00",
        sid=3,
        seq=9,
        msg=msgspec.Raw(body),
    )


def outgoing(message: Captured, kind: str) -> MarketOutgoing:
    return MarketOutgoing(message.id, "md.trade._._.KXA-1", kind, encoded(message), trade_id="t1")


@given(st.integers(2048, 300_000), st.integers(0, 300_000), st.booleans())
def test_it_fits_and_stands_for_the_message(limit: int, more: int, unreadable: bool) -> None:
    whole: Captured = trade(limit + more)
    if unreadable:
        whole = UnreadableMessage(**HEAD, reason="no JSON", raw=b"\xff" * (limit + more))
    message = outgoing(whole, "unreadable" if unreadable else "trade")
    found = cut(message, limit, "md.unreadable.0")
    assert len(found.payload) <= limit
    assert (found.id, found.trade_id, found.subject) == (message.id, "t1", "md.unreadable.0")
    said = decoded(found.payload)
    assert isinstance(said, UnreadableMessage)
    assert (said.session, said.frame) == ("a1", 7)
    assert str(len(message.payload)) in said.reason
    begins = whole.raw if isinstance(whole, UnreadableMessage) else message.payload
    assert said.raw
    assert begins.startswith(said.raw)


@pytest.mark.parametrize("kind", ["trade", "ticker"])
def test_its_channel_is_named(kind: str) -> None:
    found = cut(outgoing(trade(9000), kind), 4096, "md.unreadable.0")
    said = json.loads(found.payload)
    assert (said["channel"], said["of_channel"], said["sid"], said["seq"]) == (
        "unreadable", kind, 3, 9,
    )  # fmt: skip
    assert base64.b64decode(said["raw"]).startswith(b'{"channel":"trade"')
