"""The last messages of a subject, and a market's book as its stream tells it."""

import random

import nats
import pytest
from made_market_data import Maker, make_streams, publish

from ssmd_stack.nats import NatsServer
from ssmd_stream.market import books
from ssmd_stream.recent import all_from, recent
from ssmd_stream.stream import Stream


async def test_the_last_messages_are_those_that_a_full_read_finds(stream: Stream) -> None:
    chance = random.Random(7)
    js = stream.client.jetstream(timeout=60)
    stored: list[tuple[int, str]] = []
    # Bursts and rare ones: where to begin cannot be guessed from the stream's length.
    for name in chance.choices("aaaab", k=300) + ["c"] * 200 + chance.choices("abbc", k=300):
        subject = f"cdc.{name}.insert.x"
        stored.append(((await js.publish(subject, b"{}")).seq, subject))
    await js.delete_msg(stream.name, 400)
    del stored[399]
    for names in ("a", "c", "bc", "d"):
        wanted = {f"cdc.{name}.insert.x" for name in names}
        for most in (1, 20, 1000):
            for before in (None, 2, 450, 801):
                all_of_them = [
                    seq for seq, one in stored if one in wanted and seq < (before or 9999)
                ]
                found, has_more = await recent(stream, sorted(wanted), most, before=before)
                assert [one.sequence for one in found] == all_of_them[-most:], (names, most, before)
                assert has_more == (len(all_of_them) > most)
    of_a = [seq for seq, one in stored if one == "cdc.a.insert.x"]
    for most in range(1, 24):
        found, has_more = await recent(stream, ["cdc.a.>"], most, before=of_a[most] + 1)
        assert [one.sequence for one in found] == of_a[1 : most + 1]
        assert has_more
    found = await all_from(stream, ["cdc.b.>"], 500, most=10)
    assert [one.sequence for one in found] == [
        seq for seq, one in stored if one == "cdc.b.insert.x" and seq >= 500
    ][:10]
    assert await all_from(stream, ["cdc.b.>"], 5000, most=10) == []


async def test_a_book_is_its_last_snapshot_and_what_came_after_it(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    _, _, shard = await make_streams(client, shards=2)
    streams = await books.book_streams(client)
    assert [one.name for one in streams] == ["MARKET_BOOKS_0", "MARKET_BOOKS_1"]
    assert await books.find_shard(streams, "KXA-M") is None
    assert await books.course(shard, 1, "KXA-M") is None
    maker = Maker()
    await publish(
        client,
        maker.record("opened"),
        maker.snapshot("KXA-M", [("0.1000", "1.00")], [], known=False),
        maker.delta("KXA-M", "yes", "0.2000", "1.00"),
        maker.snapshot("KXA-M", [("0.4000", "5.00")], []),
        *(maker.delta("KXA-M", "yes", "0.4000", "1.00") for _ in range(300)),
        maker.delta("KXA-N", "yes", "0.4000", "1.00"),
        shard=1,
    )
    assert await books.find_shard(streams, "KXA-M") == 1
    found = await books.course(shard, 1, "KXA-M")
    assert found is not None
    assert found.messages[0].yes == (("0.4000", "5.00"),)
    assert len(found.messages) == 301
    assert (found.snapshot_sequence, found.sequence) == (4, 304)
    assert (found.doubt, found.confirmed_at) == (None, None)
    # Changes alone are no book.
    assert await books.course(shard, 1, "KXA-N") is None
    await publish(client, maker.record("count"), maker.record("gap", of_channel="book"), shard=1)
    found = await books.course(shard, 1, "KXA-M")
    assert found is not None
    assert found.confirmed_at is not None
    assert "missed" in (found.doubt or "")
    await client.close()


@pytest.mark.parametrize(
    ("what", "doubted"),
    [
        ({"what": "count"}, False),
        ({"what": "gap", "of_channel": "trade"}, False),
        ({"what": "gap"}, True),
        ({"what": "gap", "of_channel": "orderbook_delta"}, True),
        ({"what": "closed"}, True),
        ({"what": "removed", "tickers": ("OTHER",)}, False),
        ({"what": "removed", "tickers": ("M",)}, True),
        ({"what": "dropped", "published": {"ticker": 3}}, False),
        ({"what": "dropped", "published": {"book": 3}}, True),
    ],
)
def test_records_end_a_books_continuity(what: dict[str, object], doubted: bool) -> None:
    record = Maker().record(**what)  # type: ignore[arg-type]
    assert (books.doubt([record], "s1", "M") is not None) == doubted


def test_a_drop_that_only_counts_tell_of_is_seen_and_another_session_only_where_it_opens() -> None:
    maker, other = Maker(), Maker("s2")
    before, after = (maker.record("count", dropped={"book": n}) for n in (2, 3))
    assert books.doubt([before, before], "s1", "M") is None
    assert books.doubt([before, after], "s1", "M") is not None
    assert books.doubt([other.record("gap")], "s1", "M") is None
    assert books.doubt([other.record("opened")], "s1", "M") is not None
