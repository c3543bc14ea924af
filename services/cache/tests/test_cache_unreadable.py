"""What cannot be read costs itself and nothing more: rows of PostgreSQL, messages of the stream."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cache.database.rows import Rows
from ssmd_cache.errors import UnreadableRow
from ssmd_cache.projection.facts import DEEPEST, EventFacts, facts_of, ticker_of
from ssmd_cache.verify.report import Unread
from ssmd_cache.verify.verifier import Verifier
from ssmd_cache.warmup.rebuild import rebuild
from ssmd_common.depth import is_deep, shallow
from ssmd_common.keys import Keys
from ssmd_stream.change import KEY_COLUMN, Position, decode_head, salvage
from ssmd_stream.errors import UnreadableMessage

UNIVERSE = """
INSERT INTO series (ticker, category) VALUES ('S', 'C'), ('T', 'D');
INSERT INTO events (event_ticker, series_ticker, status) VALUES ('E', 'S', 'open');
INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time)
    SELECT 'M' || n, 'E', 'S', 'active', now() + interval '1 day' FROM generate_series(1, 9) n;
INSERT INTO series_fees VALUES ('S', 'quadratic', 1, '2026-01-01', '2026-02-01'),
    ('S', 'quadratic', 2, '2026-02-01', NULL)
"""
DEEP = "(repeat('[', 2000) || repeat(']', 2000))::jsonb"
MARKET = "secmaster:series:S:E:M1"
SERIES = "secmaster:series:T"


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


async def change(world: Any, statement: str, table: str, ticker: str, op: str = "update") -> None:
    """One statement, and its message as the publisher writes it, however deep the row is.

    The row before stands in it as well.
    """
    rows = Rows(world.pg)
    await rows.prepare()
    before = await rows.some(table, [ticker])
    await world.pg.execute(statement)
    after = await rows.some(table, [ticker])
    cursor = await world.pg.execute(
        "SELECT pg_current_wal_lsn()::text, pg_current_xact_id()::text::bigint"
    )
    lsn, xid = await cursor.fetchone()
    key = msgspec.json.encode({KEY_COLUMN[table]: ticker})
    payload = (
        b'{"v":1,"lsn":"%b","seq":0,"xid":%d,"epoch":1,"table":"%b","op":"%b","type":"test",'
        b'"ticker":null,"key":%b,"data":%b,"before":%b,"timestamp":"2026-01-01T00:00:00Z"}'
        % (
            *(lsn.encode(), xid, table.encode(), op.encode(), key),
            *(after[0] if after else b"null", before[0] if before else b"null"),
        )
    )
    tokens = "S.E." + ticker if table == "markets" else ticker
    world.sequence = (await world.js.publish(f"cdc.{table}.{op}.{tokens}", payload)).seq


async def report(world: Any) -> Any:
    async with world.database.connect() as connection:
        return await Verifier(connection, world.redis, Keys(), rechecks=3, pause_seconds=0.3).full()


async def degraded(world: Any, cache: Any, part: str | None) -> None:
    async def says() -> bool:
        text = cache.health.degraded.get("unreadable")
        return text is None if part is None else part in (text or "")

    await world.eventually(says, f"degraded: {part}, but {cache.health.document()}")


async def indexed(world: Any, ticker: str) -> list[bool]:
    """Whether it is in each index."""
    return [
        bool(found is not None and found is not False and found != 0)
        for found in (
            await world.redis.hget("secmaster:markets", ticker),
            await world.redis.sismember("secmaster:event_markets:E", ticker),
            await world.redis.sismember("secmaster:markets:by_category:C", ticker),
            await world.redis.zscore("secmaster:markets:expiring", ticker),
        )
    ]


@pytest.mark.parametrize("column", ["custom_strike", "extra"])
@pytest.mark.parametrize("mended", ["UPDATE markets SET {} = NULL", "DELETE FROM markets"])
async def test_a_deep_market_is_not_shown_until_it_is_mended(
    world: Any, column: str, mended: str
) -> None:
    await world.commit(*UNIVERSE.split(";"))
    one = " WHERE ticker = 'M1'"
    async with world.cache() as cache:
        await cache.ready()
        assert await indexed(world, "M1") == [True] * 4
        await change(world, f"UPDATE markets SET {column} = {DEEP}" + one, "markets", "M1")
        await degraded(world, cache, "markets M1")
        assert cache.health.ready
        await world.settled()
        # A value of before would be a lie.
        assert not await world.redis.exists(MARKET)
        assert await indexed(world, "M1") == [False] * 4
        found = await report(world)
        assert found.differences == []
        assert found.unreadable == [Unread("markets", "M1", f"nested more than {DEEPEST} deep")]
        op = "delete" if mended.startswith("DELETE") else "update"
        await change(world, mended.format(column) + one, "markets", "M1", op)
        await degraded(world, cache, None)
        await world.assert_right()
        found = await report(world)
        assert (found.differences, found.unreadable) == ([], [])


async def test_a_picture_with_a_deep_row_is_warmed_rebuilt_and_reconciled(world: Any) -> None:
    await world.commit(*UNIVERSE.split(";"))
    await world.pg.execute(f"UPDATE markets SET extra = {DEEP} WHERE ticker = 'M1'")
    await world.pg.execute(f"UPDATE series SET settlement_sources = {DEEP} WHERE ticker = 'S'")
    async with world.cache(cache_reconcile_seconds=0.3, cache_ready_lag_seconds=1) as cache:
        await cache.ready()
        await degraded(world, cache, "series S, markets M1")
        assert await world.redis.smembers("secmaster:markets:by_category:C") == {
            f"M{n}".encode() for n in range(2, 10)
        }, "the category of a series that is not shown still counts"
        assert not await world.redis.exists("secmaster:series:S", MARKET)
        found = await report(world)
        assert found.differences == []
        assert [row.ticker for row in found.unreadable] == ["M1", "S"]
        # Of the series and the event it is told what is known, from the stream as well.
        await change(world, "UPDATE series SET category = 'X' WHERE ticker = 'S'", "series", "S")
        # It is its markets' as well.
        for number in range(1, 10):
            touched = f"UPDATE markets SET updated_at = now() WHERE ticker = 'M{number}'"
            await change(world, touched, "markets", f"M{number}")
        await world.settled()
        assert (await report(world)).differences == []
        assert await world.redis.scard("secmaster:markets:by_category:X") == 8
    async with world.cache() as cache:
        await cache.ready()
        await degraded(world, cache, "series S, markets M1")
        # Reading on without a new picture, it still knows.
        await change(
            world, "UPDATE series SET settlement_sources = NULL WHERE ticker = 'S'", "series", "S"
        )
        await world.settled()
        await degraded(world, cache, "markets M1")
        assert "series S" not in cache.health.degraded["unreadable"]
        assert await world.redis.exists("secmaster:series:S")
    made = await rebuild(world.settings(), world.redis, deadline_seconds=60, say=lambda _: None)
    assert made.warm
    assert (await report(world)).differences == []


POISON: list[tuple[str, bytes]] = [
    ("cdc.markets.update.S.E.M1", b"what no publisher of ours writes"),
    ("cdc.markets.update.S.E.M1", b""),
    ("cdc.markets.update.S.E.M1", nested(3000)),
    ("cdc.markets.insert.S.E.M1", b'{"v":1,"data":' + nested(3000) + b"}"),
    ("cdc.markets.update.S.E.M1", b'{"v":99}'),
    ("cdc.markets.update.S.E.M1", b'{"v":1,"lsn":"0/1","seq":0,"epoch":4294967296}'),
    ("cdc.markets.update.S.E.M%00", b'{"v":1}'),
    ("cdc.markets.update.S.E.%FF%ED%A0%80", b'{"v":1}'),
    ("cdc.markets.delete.S.E.NOBODY", b"\xff\xfe"),
    ("cdc.events.update.S.E", b"null"),
    ("cdc.series.update.T", b"[1,2]"),
    ("cdc.series_fees.delete.S", b'{"v":1,"table":"series_fees"}'),
    ("cdc.series_fees.insert.S", b"?"),
    ("cdc.fees.update.default", b"?"),
    ("cdc.market_lifecycle_events.insert.determined.M1", b"?"),
    ("cdc.something.else", b"?"),
    ("cdc.x", b'{"v":1,"lsn":"0/1","seq":0,"epoch":1,"table":"x","op":"y"}'),
    ("cdc.markets.truncate", b"?"),
    ("cdc.markets.snapshot_end", b"?"),
    ("cdc.markets.update._", b"?"),
]


async def test_what_is_no_message_is_passed_over(world: Any) -> None:
    await world.commit(*UNIVERSE.split(";"))
    async with world.cache() as cache:
        await cache.ready()
        for bid, (subject, payload) in enumerate(POISON):
            await world.js.publish(subject, payload)
            await world.commit(f"UPDATE markets SET yes_bid = {bid}")
            await world.assert_right()
        assert "unreadable" not in cache.health.degraded, "a new picture was made for the last ones"
        await world.js.publish("cdc.something.else", b"?")
        await degraded(world, cache, "passed over")
        await cache.ready()
        assert not (await report(world)).differences
    async with world.cache(cache_reconcile_seconds=0.3, cache_ready_lag_seconds=1) as cache:
        await world.js.publish("cdc.something.else", b"?")
        await degraded(world, cache, "passed over")
        # Nothing is missing, as everything was compared.
        await degraded(world, cache, None)


def corrupted(payload: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(payload))
    match chance.randrange(7):
        case 0:
            return payload[:at]
        case 1:
            return payload[:at] + bytes([chance.randrange(256)]) + payload[at + 1 :]
        case 2:
            return payload[:at] + payload[at + chance.randrange(1, 40) :]
        case 3:
            return payload.replace(b'"data":{', b'"data":{"deep":' + nested(2000) + b",", 1)
        case 4:
            message = json.loads(payload)
            where = message[chance.choice(["data", "key"])] or message
            name = chance.choice(list(where))
            where[name] = chance.choice([None, 17, "text", [], {}, True, "\u0000", "9999-99-99"])
            return json.dumps(message, separators=(",", ":")).encode()
        case 5:
            message = json.loads(payload)
            message.pop(chance.choice(list(message)))
            return json.dumps(message, separators=(",", ":")).encode()
        case _:
            return payload + b"x"


VALUES = "secmaster:series:"


def lies(payload: bytes, before: bytes) -> bool:
    """Whether it is a readable message that now says it is another one."""
    try:
        found, told = json.loads(payload), json.loads(before)
    except (ValueError, RecursionError):
        return False
    named = ("v", "epoch", "lsn", "seq", "xid", "table", "op", "key")
    return isinstance(found, dict) and any(
        name in found and found[name] != told[name] for name in named
    )


def lied(payload: bytes, message: dict[str, Any]) -> bool:
    """Whether it can be read and says another row."""
    try:
        read = decode_head(payload)
        _ = read.position
        if message["op"] != "delete":
            facts_of(read.table, bytes(read.data))
            return bool(json.loads(bytes(read.data)) != message["data"])
    except (UnreadableMessage, ValueError):
        return False
    return False


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]
)
async def test_one_corrupted_message_costs_its_row_alone(
    world: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a random stream: Redis is right in all the rest, and in that row after its next change."""
    chance = random.Random(seed)
    await world.commit(*UNIVERSE.split(";"))
    async with world.cache(cache_batch_changes=chance.choice([1, 7, 500])) as cache:
        await cache.ready()
        victims: set[str] = set()
        for turn in range(8):
            ticker = f"M{chance.randrange(1, 10)}"
            messages = await world.commit(
                chance.choice(
                    [
                        f"UPDATE markets SET yes_bid = {turn + 1}",
                        f"UPDATE markets SET status = 'closed' WHERE ticker >= '{ticker}'",
                        f"UPDATE series SET category = 'K{turn}'",
                        f"UPDATE events SET category = 'L{turn}'",
                        f"UPDATE series_fees SET fee_multiplier = {turn + 3}",
                        "DELETE FROM series_fees WHERE fee_multiplier > 1",
                        f"DELETE FROM markets WHERE ticker = '{ticker}'",
                    ]
                ),
                publish=False,
            )
            if not messages:
                continue
            bad = chance.randrange(len(messages))
            told: list[bytes] = []
            for number, message in enumerate(messages):
                row = {**(message["key"] or {}), **(message["data"] or {})}
                if message["table"] == "markets":
                    row |= {"series_ticker": "S", "event_ticker": "E"}
                if message["table"] == "events":
                    row |= {"series_ticker": "S"}
                subject = world.subject_of(message["table"], message["op"], row)
                payload = msgspec.json.encode(message)
                if number == bad:
                    payload, before = b"", payload
                    while not payload or lies(payload, before):
                        payload = corrupted(before, chance)
                told.append(payload)
                await world.js.publish(subject, payload)
            victim = messages[bad]
            wrong = {}
            await world.settled()

            if lied(told[bad], victim):
                # What can be read is believed: it costs the row that it is about.
                victims.update(str(name) for name in victim["key"].values())

            async def right_but_for_them() -> bool:
                nonlocal wrong
                wrong = await world.differences()
                return not wrong or all(
                    victims
                    and (
                        key.rpartition(":")[2] in victims or not key.startswith("secmaster:series")
                    )
                    for key in wrong
                )

            try:
                await world.eventually(right_but_for_them, "the others are right", 20)
            except AssertionError:
                raise AssertionError(f"{victim} as {told[bad]!r} spoilt {wrong}") from None
            assert cache.task.done() is False
        # Told again, everything is right.
        await world.redis.incr("secmaster:_cache:rebuild_requests")
        await world.assert_right(seconds=30)


@given(st.integers(1, 2 * DEEPEST), st.binary(max_size=40))
def test_depth_is_counted_without_descending(depth: int, text: bytes) -> None:
    row = b'{"ticker":"T","s":%b,"x":%b,"after":1}' % (
        msgspec.json.encode("][" * 2 * DEEPEST + text.decode("latin-1")),
        nested(depth),
    )
    assert is_deep(row, DEEPEST) is (depth + 1 > DEEPEST)
    found = msgspec.json.decode(shallow(row))
    assert (found["ticker"], found["x"], found["after"]) == ("T", None, 1)


@given(st.binary())
def test_no_bytes_are_too_much(raw: bytes) -> None:
    is_deep(raw, DEEPEST)
    shallow(raw)
    for table in ("series", "events", "markets", "series_fees"):
        ticker_of(table, raw)
        with pytest.raises(UnreadableRow):
            facts_of(table, raw)
    with pytest.raises(UnreadableMessage):
        _ = decode_head(raw).position
    salvage(raw, raw.decode("latin-1"), Position(1, 1, 1))


def test_the_facts_of_a_deep_row_are_known() -> None:
    row = (
        b'{"event_ticker":"E\\"","series_ticker":"S","x":%b,"status":"open","category":"C",'
        b'"updated_at":"2026-01-01T00:00:00Z"}' % nested(3000)
    )
    with pytest.raises(UnreadableRow, match="nested") as raised:
        facts_of("events", row)
    facts = raised.value.facts
    assert isinstance(facts, EventFacts)
    assert (facts.ticker, facts.category) == ('E"', "C")
    assert ticker_of("events", row) == 'E"'
