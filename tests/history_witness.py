"""Copies of the tables, taken as writers go on, to compare what history tells with."""

from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection, sql

TABLES = ("series", "events", "markets", "series_fees", "fees")


async def notice(connection: AsyncConnection[Any]) -> None:
    """A test's database is a copy of the template: its record begins here."""
    await connection.execute("SELECT history.notice()")


async def without_months(connection: AsyncConnection[Any]) -> None:
    """As when the months of an empty history are not there yet."""
    query = """SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE c.relnamespace = 'history'::regnamespace AND c.relkind = 'r'
            AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'"""
    for (month,) in await (await connection.execute(query)).fetchall():
        await connection.execute(f"DROP TABLE {month}")


async def tracked(connection: AsyncConnection[Any], table: str) -> list[str]:
    query = (
        "SELECT c FROM unnest(history.columns(%(table)s::text::regclass)) c, history.watched w"
        " WHERE w.name = %(table)s AND c <> ALL (w.volatile)"
    )
    found = await (await connection.execute(query, {"table": table})).fetchall()
    return [name for (name,) in found]


async def rows(
    connection: AsyncConnection[Any], table: str, source: str | None = None, moment: Any = None
) -> list[str]:
    """The rows as text, each tracked column as PostgreSQL writes it; of the table itself, or of
    the function `source` at `moment`."""
    columns = sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(name))
        for name in await tracked(connection, table)
    )
    place = (
        sql.Identifier(table)
        if source is None
        else sql.SQL("{}({})").format(sql.Identifier(source), sql.Literal(moment))
    )
    query = sql.SQL("SELECT {} FROM {}").format(columns, place)
    return sorted(map(repr, await (await connection.execute(query)).fetchall()))


@dataclass(frozen=True, slots=True)
class Copy:
    snapshot: str
    at: Any
    """None where others may have committed meanwhile."""
    rows: dict[str, list[str]]


@dataclass
class Witness:
    connection: AsyncConnection[Any]
    copies: list[Copy] = field(default_factory=list)

    async def look(self, *, quiet: bool = True) -> None:
        """Copy all tables in one snapshot; `quiet` says that nobody commits meanwhile."""
        async with self.connection.transaction():
            await self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            query = "SELECT pg_current_snapshot()::text, clock_timestamp()::text"
            snapshot, at = await (await self.connection.execute(query)).fetchone() or ("", "")
            copied = {table: await rows(self.connection, table) for table in TABLES}
        self.copies.append(Copy(snapshot, at if quiet else None, copied))

    async def check(self) -> None:
        """History tells each copy again, and a key's versions follow each other."""
        for number, copy in enumerate(self.copies):
            for table, expected in copy.rows.items():
                told = await rows(self.connection, table, f"{table}_as_of_snapshot", copy.snapshot)
                assert told == expected, f"{table} in snapshot {copy.snapshot}, copy {number}"
                for source in ("as_of", "as_of_by_key") if copy.at is not None else ():
                    told = await rows(self.connection, table, f"{table}_{source}", copy.at)
                    assert told == expected, f"{table}_{source}({copy.at}), copy {number}"
        for table in TABLES:
            await self._versions_follow_each_other(table)

    async def _versions_follow_each_other(self, table: str) -> None:
        async with self.connection.cursor() as cursor:
            await cursor.execute("SELECT key FROM history.watched WHERE name = %s", (table,))
            [(key,)] = await cursor.fetchall()
            columns = sql.SQL(", ").join(map(sql.Identifier, key))
            await cursor.execute(
                sql.SQL(
                    "SELECT ({key})::text, array_agg(kind ORDER BY number),"
                    " count(DISTINCT number) = count(*)"
                    " FROM history.{view} GROUP BY {key}"
                ).format(
                    key=sql.SQL("ROW({})").format(columns), view=sql.Identifier(f"{table}_changes")
                )
            )
            found = await cursor.fetchall()
            await cursor.execute(
                sql.SQL("SELECT ROW({})::text FROM {}").format(columns, sql.Identifier(table))
            )
            living = {name for (name,) in await cursor.fetchall()}
        for name, kinds, are_different in found:
            assert are_different, (table, name)
            there = kinds[0] != "added"
            for kind in kinds:
                assert there == (kind != "added"), (table, name, kinds)
                there = kind != "removed"
            assert there == (name in living), (table, name, kinds)
