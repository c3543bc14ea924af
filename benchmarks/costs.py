"""What work costs a server and its client, and both ways of doing it side by side."""

import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from sync import settled_cpu_seconds

from ssmd_stack.database import Database
from ssmd_stack.postgres import PostgresServer


class Cost(NamedTuple):
    """Seconds."""

    server: float
    """Of the server's processor."""
    both: float
    """Of the server's and the client's."""
    clock: float


def client_cpu_seconds() -> float:
    """What this process and its children that ended have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


async def cost(server: PostgresServer, work: Callable[[], Awaitable[Any]]) -> Cost:
    before = await settled_cpu_seconds(server)
    client, began = client_cpu_seconds(), time.perf_counter()
    await work()
    clock, client = time.perf_counter() - began, client_cpu_seconds() - client
    used = await settled_cpu_seconds(server) - before
    return Cost(used, used + client, clock)


def told(recorded: list[Cost], bare: list[Cost]) -> Iterator[str]:
    names = ("the server's processor", "with the client's", "by the clock")
    for name, *each in zip(
        names, zip(*recorded, strict=True), zip(*bare, strict=True), strict=True
    ):
        ours, theirs = map(statistics.median, each)
        yield f"{name} {ours:.2f} s, {theirs:.2f} s ({ours / theirs:.2f} ×)"


async def execute(database: Database, *statements: str) -> Any:
    """Each in a transaction of its own; the rows of the last."""
    async with database.connect() as connection:
        for statement in statements:
            cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else None
