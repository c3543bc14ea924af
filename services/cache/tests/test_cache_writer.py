"""Redis's side by itself: what is older changes nothing, and an older leader changes nothing."""

import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import pytest
import pytest_asyncio
import redis.asyncio as aioredis
import redis.exceptions

from ssmd_cache.errors import ContentsLost, Fenced, KeyTypeConflict, SequenceGap
from ssmd_cache.projection.commands import Command, put, remove
from ssmd_cache.projection.project import value
from ssmd_cache.projection.records import TABLES_BY_KIND, FeeStep, lua_constants, sortable
from ssmd_cache.warmup.fill import Fill
from ssmd_cache.writer.position import VERSION, CachePosition
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_cache.writer.script import Script
from ssmd_common.keys import Keys
from ssmd_stream.change import Position

KEYS = Keys()
NOW = datetime.now(UTC)


@pytest_asyncio.fixture
async def client(valkey_server: Any) -> Any:
    made = aioredis.Redis.from_url(valkey_server.url)
    yield made
    await made.aclose()


async def warm_writer(client: Any, token: int = 1) -> RedisWriter:
    writer = RedisWriter(client, KEYS, token)
    await writer.claim()
    await writer.set_position(CachePosition(token=token, warm=True))
    return writer


async def contents(client: Any, pattern: str = "secmaster:[^_p]*") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in await client.keys(pattern):
        match (await client.type(key)).decode():
            case "string":
                found[key.decode()] = (await client.get(key), await client.pexpiretime(key))
            case "hash":
                found[key.decode()] = await client.hgetall(key)
            case "set":
                found[key.decode()] = set(await client.smembers(key))
            case "zset":
                found[key.decode()] = await client.zrange(key, 0, -1, withscores=True)
    return found


def row_put(table: str, position: Position, **columns: Any) -> Command:
    row = msgspec.json.encode({"updated_at": NOW, **columns})
    return put(table, row, position, KEYS, known_only=False)


def history(chance: random.Random, length: int) -> list[Command]:
    """Changes of a few rows, in the order of their positions."""
    commands = [
        row_put("series", Position(1, 1, n), ticker=f"S{n}", category=f"C{n}") for n in range(2)
    ]
    for n in range(length):
        at = Position(1 + n // (length // 2 + 1), 0x10000000000 + n // 3, n % 3)
        event, market = f"E{chance.randrange(2)}", f"M{chance.randrange(4)}"
        series = f"S{chance.randrange(2)}"
        until = NOW + timedelta(hours=chance.choice([-48, 1, 2]))
        match chance.randrange(8):
            case 0:
                commands.append(remove("markets", market, at))
            case 1:
                commands.append(remove("events", event, at))
            case 2 | 3:
                commands.append(
                    row_put(
                        "events",
                        at,
                        event_ticker=event,
                        series_ticker=series,
                        status=chance.choice(["open", "closed"]),
                        category=chance.choice(["C9", None]),
                        strike_date=until,
                    )
                )
            case 4:
                step = FeeStep(1_000_000 * chance.randrange(2), sortable(at))
                commands.append(Command("f", series, step))
            case 5:
                commands.append(
                    row_put(
                        "series_fees",
                        at,
                        series_ticker=series,
                        effective_from=datetime.fromtimestamp(chance.randrange(2), UTC),
                    )
                )
            case _:
                commands.append(
                    row_put(
                        "markets",
                        at,
                        ticker=market,
                        event_ticker=event,
                        series_ticker=series,
                        status=chance.choice(["active", "closed", "settled"]),
                        close_time=until,
                    )
                )
    return commands


def universe(chance: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Rows that have keys, each with those it belongs to."""
    until = [None, NOW + timedelta(hours=1), NOW + timedelta(hours=2)]
    series = [{"ticker": f"S:{n}", "category": chance.choice(["C", "%", None])} for n in range(3)]
    events = [
        {
            "event_ticker": f"E{n}",
            "series_ticker": chance.choice(series)["ticker"],
            "status": chance.choice(["open", "closed"]),
            "category": chance.choice(["D:", None, ""]),
            "strike_date": chance.choice(until),
        }
        for n in range(6)
    ]
    markets = [
        {
            "ticker": f"M{n}",
            "event_ticker": (event := chance.choice(events))["event_ticker"],
            "series_ticker": event["series_ticker"],
            "status": chance.choice(["open", "active", "closed", "settled"]),
            "close_time": chance.choice(until),
        }
        for n in range(30)
    ]
    starts = [NOW, datetime(1950, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)]
    fees = [
        {"series_ticker": ticker, "effective_from": at}
        for ticker in ("S:0", "S:1")
        for at in chance.sample(starts, chance.randrange(1, 4))
    ]
    return {"series": series, "events": events, "markets": markets, "series_fees": fees}


@pytest.mark.parametrize("seed", range(4))
async def test_a_warm_up_and_the_stream_leave_the_same_behind(client: Any, seed: int) -> None:
    """Values, index entries, expiries and records: one is Python's work, the other Lua's."""
    chance, at = random.Random(seed), Position(1, 5, 0)
    rows = universe(chance)
    json = {
        table: [msgspec.json.encode({**row, "updated_at": NOW}) for row in some]
        for table, some in rows.items()
    }
    categories = {row["ticker"]: row["category"] or "" for row in rows["series"]}
    for row in rows["events"]:
        categories[row["event_ticker"]] = row["category"] or categories[row["series_ticker"]]
    writer, fill = await warm_writer(client), Fill(KEYS, at, "g", NOW)
    for table, some in json.items():
        page = [(value(row, at).encode(),) for row in some]
        if table == "markets":
            own = [categories[row["event_ticker"]] for row in rows[table]]
            page = [(*row, category) for row, category in zip(page, own, strict=True)]
        if table == "series_fees":
            schedules: dict[str, list[bytes]] = {}
            for fee, (step,) in zip(rows[table], page, strict=True):
                schedules.setdefault(fee["series_ticker"], []).append(step)
            page = [(schedule,) for schedule in schedules.values()]
        await writer.fill(fill.commands(table, page))
    warmed = await contents(client, "secmaster:[^p]*")
    assert await writer.scrub() == 0
    for kind, table in TABLES_BY_KIND.items():
        seen = await writer.patrol(kind, b"0", 1000)
        assert (seen.mended, seen.valueless) == (0, [])
        assert seen.rows == fill.written[table]
    await client.flushall()
    writer = await warm_writer(client)
    commands = [
        put(table, row, at, KEYS, known_only=False) for table, some in json.items() for row in some
    ]
    while commands:
        count = chance.randrange(1, 20)
        await writer.repair("g", commands[:count])
        del commands[:count]
    streamed = await contents(client, "secmaster:[^p]*")
    for name in ("markets", "events", "series", "fees"):
        key = f"secmaster:_cache:{name}"
        assert unpacked(streamed.pop(key)) == unpacked(warmed.pop(key))
    assert streamed == warmed


def unpacked(records: dict[bytes, bytes]) -> dict[bytes, Any]:
    return {ticker: msgspec.msgpack.decode(record) for ticker, record in records.items()}


def test_records_are_laid_out_as_redis_has_them() -> None:
    """What older builds wrote: another layout needs another version of the position."""
    assert VERSION == 2
    assert lua_constants().split("\n") == [
        *("local R_POSITION = 1", "local R_GENERATION = 2", "local R_KEY = 3"),
        *("local M_EVENT = 4", "local M_SERIES = 5", "local M_LISTED = 6"),
        *("local M_CATEGORY = 7", "local M_CLOSES = 8", "local M_EXPIRES = 9"),
        *("local E_SERIES = 4", "local E_CATEGORY = 5", "local E_EXPIRES = 6"),
        "local S_CATEGORY = 4",
        *("local F_START = 1", "local F_POSITION = 2", "local F_GENERATION = 3"),
        "local F_JSON = 4",
    ]


@pytest.mark.parametrize("seed", range(8))
async def test_duplicates_and_reordering_change_nothing(client: Any, seed: int) -> None:
    chance = random.Random(seed)
    commands = history(chance, 60)
    writer = await warm_writer(client)
    for command in commands:
        await writer.repair("g", [command])
    in_order = await contents(client)
    await client.flushall()
    writer = await warm_writer(client)
    # The parents' series are known in both; all else comes in any order, and more than once.
    await writer.repair("g", commands[:2])
    shuffled = chance.sample(commands, len(commands)) + chance.sample(commands, 20)
    while shuffled:
        batch = [shuffled.pop() for _ in range(min(len(shuffled), chance.randrange(1, 9)))]
        await writer.repair("g", batch)
    assert await contents(client) == in_order


async def test_a_batch_that_was_applied_is_not_applied_again(client: Any) -> None:
    writer = await warm_writer(client)
    position = CachePosition(token=1, warm=True, sequence=1)
    put_it = row_put("series", Position(1, 5, 0), ticker="S", category="C")
    assert (await writer.apply(1, position, [put_it])).changed == 1
    assert (await writer.apply(1, position, [put_it])).changed == 0
    second = msgspec.structs.replace(position, sequence=2)
    await writer.apply(2, second, [])
    await writer.apply(1, position, [put_it])
    assert (await writer.position()) == second
    with pytest.raises(SequenceGap) as gap:
        await writer.apply(5, msgspec.structs.replace(position, sequence=5), [put_it])
    assert gap.value.at == 2


async def test_an_older_leader_is_fenced_in_every_action(client: Any) -> None:
    old = await warm_writer(client, 7)
    position = CachePosition(token=7, warm=True, sequence=1)
    change = row_put("series", Position(1, 5, 0), ticker="S", category="C")
    await old.apply(1, position, [change])
    new = RedisWriter(client, KEYS, 8)
    claimed = await new.claim()
    assert claimed is not None
    assert claimed.sequence == 1
    before = await contents(client) | {"p": await client.get("secmaster:position")}
    later = row_put("series", Position(1, 6, 0), ticker="S", category="D")
    for attempt in (
        lambda: old.apply(2, msgspec.structs.replace(position, sequence=2), [later]),
        lambda: old.repair("g", [later]),
        lambda: old.fill([["SET", "secmaster:series:S", "x"]]),
        lambda: old.set_position(position),
        lambda: old.complete(position, Counter()),
        lambda: old.set("secmaster:last_sync", b"x"),
        old.sweep,
        lambda: old.prune("epoch", "ffffffff"),
        old.scrub,
        old.look,
        old.claim,
        old.position,
    ):
        with pytest.raises(Fenced):
            await attempt()
    assert await contents(client) | {"p": await client.get("secmaster:position")} == before


class Interrupted(Script):
    """Something happens after a warm-up's page was allowed and before it is written."""

    meanwhile: ClassVar[Callable[[], Awaitable[Any]] | None] = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with super().connection() as exchange:

            async def interrupted(packed: list[bytes], replies: int, sent: Any = None) -> list[Any]:
                answer = await exchange(packed, replies, sent)
                if (meanwhile := Interrupted.meanwhile) is not None:
                    Interrupted.meanwhile = None
                    await meanwhile()
                return answer

            yield interrupted


async def test_a_page_of_a_warm_up_is_written_by_the_leader_alone(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens between the look at the token and the write."""
    monkeypatch.setattr("ssmd_cache.writer.redis_writer.Script", Interrupted)
    await warm_writer(client)
    writer = RedisWriter(client, KEYS, 1)
    page: list[Any] = [["SET", "secmaster:series:S", "x"], ["HSET", "secmaster:markets", "M", "x"]]
    await writer.fill(page)
    assert await client.delete("secmaster:series:S", "secmaster:markets") == 2

    async def another_leads() -> None:
        await RedisWriter(client, KEYS, 2).claim()

    async def lose_connections() -> None:
        await client.connection_pool.disconnect()
        await another_leads()

    for meanwhile, error in (
        (client.flushall, ContentsLost),
        (lose_connections, redis.exceptions.ConnectionError),
        (another_leads, Fenced),
    ):
        await client.flushall()
        await warm_writer(client)
        Interrupted.meanwhile = meanwhile
        with pytest.raises(error):
            await writer.fill(page)
        assert not await client.exists("secmaster:series:S", "secmaster:markets")


async def test_a_page_that_redis_has_no_room_for_is_not_written_in_part(client: Any) -> None:
    writer = await warm_writer(client)
    page: list[Any] = [["SREM", "secmaster:event_markets:E", "M"], ["SET", "secmaster:fee:S", "x"]]
    await client.sadd("secmaster:event_markets:E", "M")
    await client.config_set("maxmemory", 1)
    with pytest.raises(aioredis.ResponseError, match=r"OOM|maxmemory"):
        await writer.fill(page)
    await client.config_set("maxmemory", 0)
    assert await contents(client) == {"secmaster:event_markets:E": {b"M"}}
    await writer.fill(page)
    assert await client.get("secmaster:fee:S") == b"x"


async def test_a_flush_is_noticed_by_the_next_write(client: Any) -> None:
    writer = await warm_writer(client)
    await client.flushall()
    change = row_put("series", Position(1, 5, 0), ticker="S", category="C")
    with pytest.raises(ContentsLost):
        await writer.apply(1, CachePosition(token=1, warm=True, sequence=1), [change])
    assert await client.dbsize() == 0


async def test_foreign_keys_are_left_alone_and_named(client: Any) -> None:
    writer = await warm_writer(client)
    await client.rpush("secmaster:series:S", "someone else's")
    await client.set("secmaster:event_markets:E", "x")
    written = await writer.repair(
        "g",
        [
            row_put("series", Position(1, 5, 0), ticker="S", category="C"),
            row_put("series", Position(1, 5, 1), ticker="T", category="C"),
            row_put(
                "markets",
                Position(1, 5, 2),
                ticker="M",
                event_ticker="E",
                series_ticker="T",
                status="active",
            ),
        ],
    )
    assert written.foreign == {"secmaster:series:S", "secmaster:event_markets:E"}
    assert written.changed == 1
    assert await client.lrange("secmaster:series:S", 0, -1) == [b"someone else's"]
    assert not await client.exists("secmaster:series:T:E:M", "secmaster:markets")
    await client.sadd("secmaster:markets", "x")
    with pytest.raises(KeyTypeConflict) as error:
        await writer.sweep()
    assert error.value.keys == ["secmaster:markets"]


async def test_out_of_memory_writes_nothing_of_a_batch(client: Any) -> None:
    writer = await warm_writer(client)
    first = row_put("series", Position(1, 5, 0), ticker="S0", category="C")
    await writer.apply(1, CachePosition(token=1, warm=True, sequence=1), [first])
    before = await contents(client)
    await client.config_set("maxmemory", 1)
    changes = [
        row_put("series", Position(1, 6, n), ticker=f"S{n}", category="D") for n in range(50)
    ]
    position = CachePosition(token=1, warm=True, sequence=2)
    with pytest.raises(aioredis.ResponseError, match=r"OOM|maxmemory"):
        await writer.apply(2, position, changes)
    assert await contents(client) == before
    await client.config_set("maxmemory", 0)
    assert (await writer.apply(2, position, changes)).changed == 50
