"""The live view is what the tables are, and so is what its readers are told: with writers at work,
and with every server and service killed meanwhile."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nats
import observers
import pytest
from client_testbed import (
    System,
    assert_indexes_are_right,
    assert_view_is_tables,
    running,
)
from client_writes import UNIVERSE, write

from ssmd_client import Secmaster
from ssmd_client.live import keeper
from ssmd_client.live.directly import DirectSource
from ssmd_client.live.messages import Change, Missed, Renewed
from ssmd_stack.database import Database
from ssmd_stack.proxy import TcpProxy

WAYS = ("http", "direct")


@asynccontextmanager
async def writing(system: System, *seeds: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    writers = [asyncio.create_task(write(system.database_url, seed, stop)) for seed in seeds]
    try:
        yield
    finally:
        stop.set()
        assert all(await asyncio.gather(*writers))


class Told:
    """What a reader makes of the changes alone, on top of the picture where it began."""

    def __init__(self, view: Secmaster) -> None:
        self.markets = dict(view._picture.markets)
        self.renewals = 0
        self.sequences: list[int] = []
        self._view = view
        self._changes = view.changes()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for item in self._changes:
            match item:
                case Change(table="markets"):
                    self.sequences.append(item.sequence)
                    if item.row is None:
                        assert self.markets.pop(item.before.ticker) == item.before
                    else:
                        assert self.markets.get(item.row.ticker) == item.before
                        self.markets[item.row.ticker] = item.row
                case Renewed():
                    self.renewals += 1
                    self.markets = dict(self._view._picture.markets)
                case Missed():
                    raise AssertionError(item)
                case _:
                    pass


async def assert_all_agree(system: System, views: list[Secmaster], told: list[Told]) -> None:
    """Replay of the stream = view = tables = what was told."""
    client = await nats.connect(system.nats_url)
    try:
        await observers.assert_stream_equals_tables(
            system.database_url, client.jetstream(timeout=60)
        )
    finally:
        await client.close()

    async def equal() -> None:
        for view in views:
            await assert_view_is_tables(view, system.database_url)

    await observers.eventually(equal, 60)
    for each in told:
        assert not each.task.done(), each.task
        assert each.markets == each._view._picture.markets
        # In order, and each once.
        assert each.renewals or each.sequences == sorted(set(each.sequences))
    for view in views:
        assert_indexes_are_right(view)


async def test_views_made_in_the_middle_of_writing_are_the_tables(
    database: Database, nats_server: Any
) -> None:
    async with AsyncExitStack() as stack:
        async with database.connect() as connection:
            await connection.execute(UNIVERSE)
        system = await stack.enter_async_context(
            running(database.url, nats_server.url, f"s_{database.name}")
        )
        views, told = [], []
        async with writing(system, 1, 2, 3):
            for how in WAYS * 2:
                views.append(await stack.enter_async_context(system.view(how)))
                told.append(Told(views[-1]))
            await asyncio.sleep(1)
        await assert_all_agree(system, views, told)
        assert all(each.sequences and not each.renewals for each in told)
        for each in told:
            each.task.cancel()


@asynccontextmanager
async def followed(
    private_postgres: Any, nats_server: Any, *ways: str, nats_url: str | None = None
) -> AsyncIterator[tuple[System, list[Secmaster], list[Told]]]:
    """A system of its own with live views; those without the API read NATS at `nats_url`."""
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            running(private_postgres.url, nats_server.url, "chaos")
        )
        async with await system.connect() as connection:
            await connection.execute(UNIVERSE)
        views = [await stack.enter_async_context(system.view(how, nats_url)) for how in ways]
        told = [Told(view) for view in views]
        yield system, views, told
        for each in told:
            each.task.cancel()


async def current(views: list[Secmaster]) -> None:
    """Wait until every view follows again."""

    async def follows() -> None:
        assert all(view.age.is_following for view in views), [view.age for view in views]

    await observers.eventually(follows, 60)


async def sees(system: System, views: list[Secmaster], ticker: str) -> None:
    """Have something happen, and wait until every view shows it."""
    async with await system.connect() as connection:
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker)"
            # Locked: a writer may give the event to another series meanwhile.
            " SELECT %s, event_ticker, series_ticker FROM events LIMIT 1 FOR SHARE",
            (ticker,),
        )

    async def shown() -> None:
        assert all(view.get(ticker) for view in views), [view.age for view in views]

    await observers.eventually(shown, 120)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.embedded
async def test_every_server_is_killed_while_it_is_followed(
    private_postgres: Any, nats_server: Any
) -> None:
    async with followed(private_postgres, nats_server, *WAYS) as (system, views, told):
        async with writing(system, 4, 5):
            for number, killed in enumerate(
                (nats_server, system.api, system.cdc, private_postgres)
            ):
                await killed.kill()
                # Writers and readers are to notice that it is away.
                await asyncio.sleep(0.5)
                await killed.start()
                for process in (system.cdc, system.api):
                    await process.ready()
                await sees(system, views, f"after {number}")
        await current(views)
        await assert_all_agree(system, views, told)
        # Nothing that was lost: each went on where it was.
        assert [view.age.renewals for view in views] == [0, 0]


class MovedClock:
    """Has the time between two tries pass at once, and adds it up for each view."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seconds: Counter[Any] = Counter()
        monkeypatch.setattr(keeper, "pause", self._pause)

    async def _pause(self, seconds: float) -> None:
        self._seconds[asyncio.current_task()] += seconds
        await asyncio.sleep(0.01)

    async def passes(self, views: list[Secmaster], seconds: float) -> None:
        """Wait until each view has tried again for so long."""
        self._seconds.clear()
        streams = [v._source._stream for v in views if isinstance(v._source, DirectSource)]
        for stream in streams:
            # What a try takes beside is real.
            stream.answer_seconds = 0.05

        async def tried() -> None:
            assert all(self._seconds[view._keeper._task] > seconds for view in views), self._seconds

        await observers.eventually(tried, 120)
        for stream in streams:
            stream.answer_seconds = 5.0


class RealClock:
    """What passes by itself."""

    def __init__(self, _: pytest.MonkeyPatch) -> None:
        pass

    async def passes(self, views: list[Secmaster], seconds: float) -> None:
        """Wait until what each view shows is so old."""

        async def old() -> None:
            assert all(view.age.seconds > seconds for view in views)

        await observers.eventually(old, seconds + 60)


@pytest.mark.embedded
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (MovedClock, 3600),
        pytest.param(RealClock, 200, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
async def test_nats_may_be_away_for_an_hour(
    private_postgres: Any,
    nats_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[MovedClock | RealClock],
    seconds: float,
) -> None:
    """Whoever follows does nothing about it, and is told if something was lost: on the same store
    nothing is, an empty one is."""
    clock = kind(monkeypatch)
    async with followed(private_postgres, nats_server, *WAYS) as (system, views, told):
        await sees(system, views, "before")
        await nats_server.kill()
        await clock.passes(views, seconds)
        for view in views:
            assert view.get("before") is not None
            assert not view.age.is_following
            assert view.age.why is not None
            assert "NATS does not" in view.age.why
        await nats_server.start()
        await sees(system, views, "after")
        await assert_all_agree(system, views, told)
        assert [view.age.renewals for view in views] == [0, 0]

        await nats_server.kill()
        shutil.rmtree(nats_server.data_dir)
        await clock.passes(views, seconds / 10)
        await nats_server.start()
        await sees(system, views, "anew")
        await current(views)
        await assert_all_agree(system, views, told)
        assert all(view.age.renewals for view in views)
        assert all(each.renewals for each in told)


@pytest.mark.parametrize("loss", ["purged", pytest.param("made anew", marks=pytest.mark.slow)])
async def test_a_stream_that_loses_what_comes_next_renews_the_view(
    private_postgres: Any, nats_server: Any, loss: str
) -> None:
    async with (
        TcpProxy(nats_server.url) as proxy,
        followed(private_postgres, nats_server, *WAYS, nats_url=proxy.url) as (system, views, told),
    ):
        async with writing(system, 6):
            client = await nats.connect(nats_server.url)
            js = client.jetstream(timeout=60)
            if loss == "purged":
                # Whoever reads is held up, so that what comes next is lost to all.
                await system.api.kill()
                proxy.freeze()
                seen = max(view.age.sequence for view in views)

                async def published() -> None:
                    assert (await js.stream_info("SECMASTER_CDC")).state.last_seq > seen + 10

                await observers.eventually(published, 60)
                await js.purge_stream("SECMASTER_CDC")
                proxy.cut()
                proxy.thaw()
                await system.api.start()
            else:
                await js.delete_stream("SECMASTER_CDC")
            await client.close()
            for process in (system.cdc, system.api):
                await process.ready()
            await sees(system, views, "after")
        await current(views)
        if loss == "purged":
            # What was lost the stream itself cannot tell any more.
            async def equal() -> None:
                for view in views:
                    await assert_view_is_tables(view, system.database_url)

            await observers.eventually(equal, 60)
        else:
            await assert_all_agree(system, views, told)
        assert all(view.age.renewals for view in views)
        assert all(each.renewals for each in told)
