"""The contract of market data: messages, subjects, and streams that share no subject."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common.streams import MARKET_DATA_STREAM, books_stream
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import ensure
from ssmd_stream.market import messages, streams, subjects
from ssmd_stream.market.messages import (
    BookMessage,
    SessionRecord,
    TickerMessage,
    TradeMessage,
    UnreadableMessage,
    decoded,
    encoded,
    evidence,
    time_text,
)
from ssmd_stream.stream import Stream

HEAD: dict[str, Any] = {
    "v": 1, "connector": "0", "session": "01J", "frame": 1234,
    "received_at": "2026-11-28T17:00:00.123456Z",
}  # fmt: skip
SAID: dict[str, Any] = {**HEAD, "source": "ws", "sid": 2, "seq": 77, "ticker": "M", "series": "S"}
TRADE = TradeMessage(
    **SAID, trade_id="t", price="0.4200", count="10.00", taker_side="yes",
    msg=evidence(b'{"count_fp":"10.00",\n\r"odd":[1e2, "a\\nb"]}'),
)  # fmt: skip


def test_a_message_is_one_line_with_the_exchanges_own_object() -> None:
    payload = encoded(TRADE)
    assert b"\n" not in payload
    assert b'"msg":{"count_fp":"10.00",  "odd":[1e2, "a\\nb"]}' in payload
    assert json.loads(payload) == {
        **SAID, "channel": "trade", "trade_id": "t", "price": "0.4200", "count": "10.00",
        "taker_side": "yes", "msg": {"count_fp": "10.00", "odd": [100.0, "a\nb"]},
    }  # fmt: skip
    assert TRADE.id == "01J.1234"


@pytest.mark.parametrize(
    "message",
    [
        TRADE,
        TickerMessage(**SAID, yes_bid="0.4100", msg=evidence(b"{}")),
        BookMessage(**SAID, yes_price=True, yes=(("0.4000", "5.00"),), no=(), msg=evidence(b"{}")),
        BookMessage(
            **SAID, yes_price=True, side="no", price="0.4000", delta="-5.00", msg=evidence(b"{}")
        ),
        UnreadableMessage(**HEAD, reason="no JSON", raw=b"\xff\x00{"),
        SessionRecord(**HEAD, n=3, what="gap", of_channel="trade", reason="expected 3, got 5"),
        SessionRecord(**HEAD, n=4, what="count", published={"trade": 5}, dropped={}),
    ],
)
def test_what_is_written_is_read(message: messages.Message) -> None:
    read = decoded(encoded(message))
    assert type(read) is type(message)
    assert encoded(read) == encoded(message)
    assert read.id == message.id


def test_records_and_messages_never_share_an_identity() -> None:
    record = SessionRecord(**HEAD, n=1234, what="opened")
    assert record.id != TRADE.id


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])))
def test_times_are_utc_to_the_microsecond(moment: datetime) -> None:
    text = time_text(moment)
    assert text.endswith("Z")
    assert len(text) == 27
    assert datetime.fromisoformat(text) == moment


def test_subjects() -> None:
    assert subjects.trade("S", "E-1", "E-1-T3.5") == "md.trade.S.E-1.E-1-T3%2E5"
    assert subjects.ticker(None, None, "M") == "md.ticker._._.M"
    assert subjects.book(3, "S", "E", "M") == "md.book.3.S.E.M"
    assert subjects.session("0") == "md.session.0"


async def test_the_streams_stand_side_by_side(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    try:
        wanted = [streams.market_data(max_bytes=1 << 20)]
        wanted += [streams.books(shard, max_bytes=1 << 20) for shard in (0, 1)]
        for one in wanted:
            stream = Stream(client, one["name"], publisher="connector")
            await ensure(stream, one, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
        js = client.jetstream(timeout=60)
        for subject, name in (
            (subjects.trade("S", "E", "M"), MARKET_DATA_STREAM),
            (subjects.ticker("S", "E", "M"), MARKET_DATA_STREAM),
            (subjects.session("0"), MARKET_DATA_STREAM),
            (subjects.unreadable("0"), MARKET_DATA_STREAM),
            (subjects.book(0, "S", "E", "M"), books_stream(0)),
            (subjects.books_session(1, "0"), books_stream(1)),
        ):
            assert (await js.publish(subject, encoded(TRADE))).stream == name
    finally:
        await client.close()
