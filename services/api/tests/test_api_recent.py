"""What was read a moment ago is not read again: markets and pages of lists."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from api_testbed import Client, Serve, make_key

from ssmd_api.document import Answer, Body
from ssmd_api.recent import Recent
from ssmd_api.turns import caller
from ssmd_stack.database import Database

TICKER = "KXBTCD-26FEB03-T97500.99"
LISTS = ("/v1/markets", "/v1/events", "/v1/series")
LONG = 600.0
"""Of tests in which nothing is read again."""


@pytest_asyncio.fixture
async def remembering(serve: Serve, universe: None) -> AsyncIterator[Client]:
    async with serve() as api:
        api.context.recent.seconds = LONG
        yield api


async def change(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET title = 'another'")
        await connection.execute("UPDATE events SET title = 'another'")
        await connection.execute("UPDATE series SET title = 'another'")


@pytest.mark.parametrize("path", [*LISTS, f"/v1/markets/{TICKER}"])
async def test_the_same_request_gets_the_same_answer_without_a_query(
    remembering: Client, database: Database, path: str
) -> None:
    first = await remembering.get(path)
    await change(database)
    again = await remembering.get(path)
    assert (again.status, again.body) == (200, first.body)
    for name in ("ETag", "X-Ssmd-Source", "Vary", "Cache-Control", "Content-Type", "Link"):
        assert again.headers.get(name) == first.headers.get(name)
    # With another parameter it is another request.
    assert b"another" in (await remembering.get(f"{path}?exclude=updated_at")).body


@pytest.mark.parametrize("path", [*LISTS, f"/v1/markets/{TICKER}"])
async def test_what_changed_is_seen_soon(
    serve: Serve, universe: None, database: Database, path: str
) -> None:
    async with serve(api_recent_seconds=0.05) as api:
        await api.get(path)
        await change(database)
        changed = time.monotonic()
        async with asyncio.timeout(10):
            while True:
                began = time.monotonic()
                seen = b"another" in (await api.get(path)).body
                # However long ago the answer was made, it began to be read not long before.
                assert seen or began - changed < 0.05
                if seen:
                    return


async def test_of_a_market_its_other_name_is_read_by_itself(remembering: Client) -> None:
    assert (await remembering.get("/v1/markets/NONE")).status == 404
    assert (await remembering.get(f"/v1/markets/{TICKER}")).status == 200


async def test_pages_go_on(remembering: Client) -> None:
    names: list[str] = []
    path = "/v1/markets?limit=2"
    for _ in range(2):
        found: list[str] = []
        following = path
        while following:
            reply = await remembering.get(following)
            found += [row["ticker"] for row in reply.json["markets"]]
            following = reply.headers.get("Link", "").partition(">")[0].removeprefix("<")
        assert not names or found == names
        names = found
    assert len(names) == len(set(names)) > 2


async def test_its_age_goes_on(remembering: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = int((await remembering.get("/v1/markets")).headers["X-Ssmd-Age"])

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(seconds=1000)

    monkeypatch.setattr("ssmd_api.replies.datetime", Later)
    assert int((await remembering.get("/v1/markets")).headers["X-Ssmd-Age"]) >= first + 1000


async def test_every_request_is_authorised_limited_and_tagged(
    remembering: Client, database: Database
) -> None:
    first = await remembering.get("/v1/markets")
    assert (await remembering.get("/v1/markets", headers={"X-API-Key": "wrong"})).status == 401
    admin = await make_key(database, "admin")
    assert (await remembering.get("/v1/markets", headers={"X-API-Key": admin})).status == 403
    mine = {"X-API-Key": await make_key(database, "read", rate=2)}
    replies = [await remembering.get("/v1/markets", headers=mine) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 3
    tagged = {"If-None-Match": first.headers["ETag"]}
    unchanged = await remembering.get("/v1/markets", headers=tagged)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.headers["ETag"] == first.headers["ETag"]


async def test_it_is_compressed_once_for_those_who_read_gzip(
    remembering: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = await remembering.get("/v1/markets", headers={"Accept-Encoding": "identity"})
    made = []
    real = gzip.compress

    def compressed(data: bytes, coding: str) -> bytes:
        assert coding == "gzip"
        made.append(data)
        return real(data)

    monkeypatch.setattr("ssmd_api.document.compressed", compressed)
    replies = await asyncio.gather(
        *(remembering.get("/v1/markets", headers={"Accept-Encoding": "gzip"}) for _ in range(5))
    )
    assert made == [plain.body]
    for reply in replies:
        assert reply.headers["Content-Encoding"] == "gzip"
        assert reply.body == plain.body
        assert reply.headers["ETag"] == plain.headers["ETag"].removesuffix('"') + '-gzip"'
        assert int(reply.headers["Content-Length"]) < len(plain.body)


async def test_who_asks_at_once_shares_a_reading(
    serve: Serve, universe: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as api:
        api.context.recent.seconds = LONG
        await api.get("/v1/series")
        read, real = [], api.context.store.listed

        async def counted(*given: object) -> object:
            read.append(given)
            return await real(*given)

        monkeypatch.setattr(type(api.context.store), "listed", lambda _, *given: counted(*given))
        replies = await asyncio.gather(*(api.get("/v1/markets") for _ in range(20)))
        assert len(read) == 1
        assert {reply.body for reply in replies} == {replies[0].body}
        api.context.recent.seconds = 0
        await asyncio.gather(*(api.get("/v1/markets") for _ in range(5)))
        assert len(read) == 6


def answer(size: int = 10) -> Answer:
    return Answer(Body(bytes(size)), {})


async def test_no_key_waits_for_the_reading_of_another_or_fails_with_it() -> None:
    recent, held = Recent(LONG), asyncio.Event()

    async def fails() -> Answer:
        await held.wait()
        raise OSError

    async def found() -> Answer:
        return mine

    async def asked(name: str, reading: object) -> object:
        caller.set(name)
        return await recent.get("page", reading)  # type: ignore[arg-type]

    mine = answer()
    first = [asyncio.create_task(asked("1", fails)) for _ in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await asyncio.create_task(asked("2", found)) is mine
    held.set()
    assert [type(e) for e in await asyncio.gather(*first, return_exceptions=True)] == [OSError] * 3


async def test_a_reading_that_takes_long_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("ssmd_api.recent.monotonic", lambda: clock[0])
    recent, held = Recent(0.05), asyncio.Event()

    async def slow() -> Answer:
        await held.wait()
        return answer(11)

    async def found() -> Answer:
        return mine

    mine = answer()
    late = asyncio.create_task(recent.get("page", slow))
    await asyncio.sleep(0)
    clock[0] = 0.06
    async with asyncio.timeout(10):
        assert await recent.get("page", found) is mine
    held.set()
    assert await late is not mine
    # Nor is it given to others.
    clock[0] = 0.07
    assert await recent.get("page", found) is mine


async def test_what_is_remembered_is_bounded_in_number_and_bytes() -> None:
    recent = Recent(LONG)

    async def read(size: int) -> Answer:
        return answer(size)

    for n in range(600):
        await recent.get(str(n), lambda: read(10))
    assert len(recent) == 500
    for n in range(20):
        await recent.get(f"large {n}", lambda: read(1 << 20))
    assert recent.size_bytes <= 16 << 20
    kept = await recent.get("large 19", lambda: read(1))
    assert len(kept.body.data) == 1 << 20
    await recent.get("too large", lambda: read(17 << 20))
    assert recent.size_bytes <= 16 << 20


async def test_what_is_read_again_and_the_same_is_not_tagged_or_compressed_again(
    serve: Serve, universe: None, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    real = gzip.compress
    monkeypatch.setattr(
        "ssmd_api.document.compressed", lambda data, _: (made.append(data), real(data))[1]
    )
    gzipped = {"Accept-Encoding": "gzip"}
    async with serve(api_recent_seconds=0) as api:
        for path in LISTS:
            made.clear()
            first = await api.get(path, headers=gzipped)
            again = await api.get(path, headers=gzipped)
            assert (again.body, again.headers["ETag"]) == (first.body, first.headers["ETag"])
            assert len(made) == 1
        await change(database)
        for path in LISTS:
            # Each is read all the same.
            changed = await api.get(path, headers=gzipped)
            assert b"another" in changed.body
            assert changed.body == made[-1]
