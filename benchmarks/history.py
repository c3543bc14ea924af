"""What history costs and takes: the same work with its triggers and without, in the same run.

The server's processor seconds are compared, and those of server and client together: other load
disturbs them less than the clock. Seconds by the clock stand beside. Both kinds take turns, and
medians are compared. The simulator runs in a process of its own, PostgreSQL is
embedded.

usage: make bench BENCH=history ARGS="[--size full] [--rounds 3] [--days 30]"
"""

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

import structlog
from costs import Cost, cost, execute, told
from history_days import days
from sync import simulator, ssmd_sync

from ssmd_common.migrations import migration_files
from ssmd_stack.database import Database, make_template, new_database
from ssmd_stack.postgres import PostgresServer

QUOTES = 50_000
TABLES = ("series", "events", "markets", "series_fees", "fees")


async def prepare(database: Database, is_recorded: bool) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await connection.execute("SELECT history.maintain('90 days')")
        for table in TABLES if not is_recorded else ():
            for what in ("inserted", "updated", "deleted", "truncated"):
                await connection.execute(f"DROP TRIGGER history_{what} ON {table}".encode())


def quotes() -> list[str]:
    """As sync writes them, 1,000 in a transaction; the page's rows by their keys."""
    return [
        "UPDATE markets SET yes_bid = coalesce(yes_bid, 0) % 98 + 1, volume_fp ="
        " coalesce(volume_fp, 0) + 1, observed_at = now(), updated_at = now() WHERE ticker IN"
        f" (SELECT ticker FROM markets ORDER BY ticker OFFSET {at} LIMIT 1000)"
        for at in range(0, QUOTES, 1000)
    ]


async def compared(server: PostgresServer, size: str, rounds: int) -> None:
    found: dict[tuple[str, bool], list[Cost]] = {}
    tuples = 0
    async with simulator(size, 0) as exchange:
        for number in range(rounds):
            # Which is first changes, because what is second finds the machine warm.
            for is_recorded in (True, False) if number % 2 else (False, True):
                async with new_database(server) as database:
                    await prepare(database, is_recorded)

                    async def passed(to: Database = database) -> None:
                        await ssmd_sync("everything", to, exchange, 1_000_000)

                    async def quoted(to: Database = database) -> None:
                        await execute(to, *quotes())

                    for what, work in (
                        ("full", passed),
                        ("no change", passed),
                        ("quotes", quoted),
                    ):
                        await execute(database, "VACUUM ANALYZE")
                        [(before,)] = await execute(
                            database, "SELECT count(*) FROM history.markets"
                        )
                        found.setdefault((what, is_recorded), []).append(await cost(server, work))
                        [(after,)] = await execute(database, "SELECT count(*) FROM history.markets")
                        tuples += (after - before) * (what == "quotes")
    print(f"{rounds} rounds, medians; with history, without it:")
    for what in ("full", "no change", "quotes"):
        print(f"  {what}: {', '.join(told(found[what, True], found[what, False]))}", flush=True)
    print(f"  events that quotes left: {tuples}")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="full", choices=["small", "full"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=1)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="ssmd-bench-") as directory:
        # When autovacuum comes is chance, and a fifth of all.
        server = PostgresServer(
            Path(directory) / "postgres", durable=False, settings={"autovacuum": "off"}
        )
        async with server:
            await make_template(server, migration_files())
            if arguments.rounds:
                await compared(server, arguments.size, arguments.rounds)
            if arguments.days:
                await days(server, arguments.days)


if __name__ == "__main__":
    asyncio.run(main())
