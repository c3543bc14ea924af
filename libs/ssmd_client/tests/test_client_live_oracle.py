"""The live view is what the tables are, and so is what its readers are told: with writers at work,
and with every server and service killed meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nats
import observers
from client_testbed import (
    System,
    assert_indexes_are_right,
    assert_view_is_tables,
    running,
)
from client_writes import UNIVERSE, write

from ssmd_client import Secmaster
from ssmd_client.live.messages import Change, Missed, Renewed
from ssmd_stack.database import Database

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
        await observers.assert_stream_equals_tables(system.database_url, client.jetstream())
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
