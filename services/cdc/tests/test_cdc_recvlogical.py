"""Differential: what PostgreSQL's own client receives from the same plugin, read by our decoder."""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from ssmd_cdc.replication import pgoutput
from ssmd_cdc.replication.pgoutput import Delete, Insert, Message, Relation, Truncate, Update, Value
from ssmd_stack import binaries
from ssmd_stack.database import Database

pytestmark = pytest.mark.skipif(
    os.environ.get("SSMD_STACK", "embedded") != "embedded",
    reason="pg_recvlogical comes with the embedded PostgreSQL",
)


def messages(received: bytes) -> Iterator[Message]:
    """It ends each message with a line feed, which may be in them too: the decoder knows where."""
    at = 0
    while at < len(received):
        rest = received[at:]
        message, end = pgoutput._READERS[rest[0]](rest)
        assert rest[end : end + 1] == b"\n"
        assert pgoutput.decode(rest[:end]) == message
        yield message
        at += end + 1


async def test_the_decoder_reads_what_pg_recvlogical_receives(
    database: Database, tmp_path: Path
) -> None:
    chance = random.Random(11)
    slot = f"r_{database.name}"
    async with database.connect() as db:
        await db.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
        for step in range(150):
            ticker = f"S{chance.randrange(20)}"
            title = "".join(chance.choices("a\n\t\\'\"{},é🦀 x", k=chance.randrange(40)))
            match chance.randrange(8):
                case 0:
                    await db.execute("DELETE FROM series WHERE ticker = %s", (ticker,))
                case 1:
                    await db.execute(
                        "UPDATE series SET ticker = %s WHERE ticker = %s",
                        (f"{ticker}-{step}", ticker),
                    )
                case 2:
                    await db.execute("UPDATE series SET title = NULL WHERE ticker = %s", (ticker,))
                case 3:
                    # Large enough to be kept out of line, so that later updates do not send it.
                    large = "".join(chance.choices("abcdefgh", k=9000))
                    await db.execute(
                        "UPDATE series SET title = %s WHERE ticker = %s", (large, ticker)
                    )
                case 4 if 60 < step < 80:
                    await db.execute("TRUNCATE series CASCADE")
                case _:
                    await db.execute(
                        "INSERT INTO series (ticker, title) VALUES (%s, %s) ON CONFLICT (ticker)"
                        " DO UPDATE SET volume = coalesce(series.volume, 0) + 1",
                        (ticker, title),
                    )
        row = await (await db.execute("SELECT pg_current_wal_insert_lsn()")).fetchone()
        assert row is not None
        output = tmp_path / "received"
        process = await asyncio.create_subprocess_exec(
            binaries.postgres_bin_dir() / "pg_recvlogical", "--dbname", database.url,
            "--slot", slot, "--start", "--no-loop", "--endpos", row[0], "--file", output,
            "-o", "proto_version=1", "-o", "publication_names=secmaster_cdc",
            env={
                **os.environ, "PGTZ": "UTC", "PGDATESTYLE": "ISO",
                "PGPASSWORD": str(conninfo_to_dict(database.url).get("password", "")),
            },
        )  # fmt: skip
        assert await process.wait() == 0
        await db.execute("SET timezone = 'UTC'")
        columns: tuple[str, ...] = ()
        replayed: dict[Value, list[Value]] = {}
        kinds = set()
        for message in messages(output.read_bytes()):
            kinds.add(type(message))
            match message:
                case Relation(name="series") as relation:
                    columns = tuple(column.name for column in relation.columns)
                case Insert(new=new):
                    replayed[new[0]] = new
                case Update(old=old, old_is_whole=True, new=new, differing=differing):
                    assert old is not None
                    assert replayed.pop(old[0]) == old
                    assert differing == [at for at, was in enumerate(old) if new[at] != was]
                    pairs = zip(old, new, strict=True)
                    whole = [was if now is pgoutput.UNCHANGED else now for was, now in pairs]
                    replayed[whole[0]] = whole
                case Delete(old=old, old_is_whole=True):
                    assert replayed.pop(old[0]) == old
                case Truncate():
                    replayed.clear()
        assert {Insert, Update, Delete, Relation} <= kinds
        names = ", ".join(f'"{name}"' for name in columns)
        expected = {}
        async with db.cursor().copy(f"COPY (SELECT {names} FROM series) TO STDOUT") as copy:
            async for texts in copy.rows():
                values = [None if text is None else text.encode() for text in texts]
                expected[values[0]] = values
        assert replayed == expected
        assert expected
