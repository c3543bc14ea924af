"""Exports: whole lists as CSV and JSON lines, of one state, honest about a broken end."""

import asyncio
import csv
import io
import json

import aiohttp
import pytest
from api_testbed import Client, Serve

from ssmd_stack.database import Database

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"


async def test_lines_are_the_rows_of_the_lists(api: Client) -> None:
    for entity, query in (("markets", ""), ("events", "&status=open"), ("series", "&tag=BTC")):
        reply = await api.get(f"/v1/export?entity={entity}{query}")
        assert reply.headers["Content-Type"].startswith("application/x-ndjson")
        listed = await api.ok(f"/v1/{entity}?{query.removeprefix('&')}")
        assert [json.loads(line) for line in reply.body.splitlines()] == listed[entity]


async def test_csv_has_parents_as_columns_and_nothing_lost(api: Client) -> None:
    reply = await api.get("/v1/export?format=csv&series=KXBTCD&status=active")
    assert reply.headers["Content-Disposition"] == 'attachment; filename="markets.csv"'
    (row,) = csv.DictReader(io.StringIO(reply.body.decode(), newline=""))
    assert row["ticker"] == TICKER
    assert row["event.status"] == "open"
    assert row["series.category"] == "Crypto"
    assert row["yes_bid_dollars"] == "0.450000"
    assert row["yes_ask"] == ""
    assert row["rules_primary"] == 'quotes " and \\ and\nnewlines, ünïcode'
    assert json.loads(row["custom_strike"])["big"] == 12345678901234567890123


async def test_an_empty_export_has_its_header(api: Client) -> None:
    whole = await api.get("/v1/export?format=csv")
    empty = await api.get("/v1/export?format=csv&series=NONE")
    assert empty.body == whole.body.splitlines(keepends=True)[0]
    assert (await api.get("/v1/export?series=NONE")).body == b""


async def test_filters_are_those_of_the_list(api: Client) -> None:
    for path in ("?entity=x", "?format=parquet2", "?limit=5", "?entity=series&min_volume=5"):
        assert (await api.get(f"/v1/export{path}")).status == 400


async def test_many_rows_of_one_state_while_others_write(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, title)"
            " SELECT 'M' || n, 'KXOLD-25', 'KXOLD', repeat('x', 2000)"
            " FROM generate_series(1, 5000) n"
        )
        headers = {"X-API-Key": api.key, "Accept-Encoding": "identity"}
        async with api.http.get(f"{api.base}/v1/export", headers=headers) as reply:
            first = await reply.content.readline()
            await connection.execute("UPDATE markets SET title = 'changed'")
            rest = await reply.content.read()
    rows = [json.loads(line) for line in (first + rest).splitlines()]
    assert len(rows) == 5007
    assert not any(row["title"] == "changed" for row in rows)


async def test_a_broken_stream_does_not_look_whole(serve: Serve, database: Database) -> None:
    async with serve() as api, database.connect() as connection:
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, title)"
            " SELECT 'M' || n, 'KXOLD-25', 'KXOLD', repeat('x', 5000)"
            " FROM generate_series(1, 5000) n"
        )
        headers = {"X-API-Key": api.key, "Accept-Encoding": "identity"}
        async with api.http.get(f"{api.base}/v1/export", headers=headers) as reply:
            assert reply.status == 200
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            with pytest.raises(aiohttp.ClientError):
                await reply.read()
        assert (await api.get("/v1/export?series=KXBTCD")).status == 200


async def test_exports_are_few_at_a_time_and_free_their_place(
    serve: Serve, database: Database
) -> None:
    async with serve(api_exports=1) as api, database.connect() as connection:
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, title)"
            " SELECT 'M' || n, 'KXOLD-25', 'KXOLD', repeat('x', 5000)"
            " FROM generate_series(1, 5000) n"
        )
        headers = {"X-API-Key": api.key, "Accept-Encoding": "identity"}
        async with api.http.get(f"{api.base}/v1/export", headers=headers) as reply:
            assert reply.status == 200
            refused = await api.get("/v1/export")
            assert refused.status == 429
            assert refused.headers["Retry-After"]
        # Its reader has gone away.
        async with asyncio.timeout(180):
            while (await api.get("/v1/export?series=KXBTCD")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_several_queries_read_one_state(api: Client, database: Database) -> None:
    """A snapshot reads one table after the other."""
    async with database.connect() as other, api.context.database.reading() as connection:
        counts = []
        for _ in range(2):
            row = await (await connection.execute("SELECT count(*) FROM series_fees")).fetchone()
            counts.append(row)
            await other.execute(
                "INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from)"
                " SELECT 'KXOLD', 'quadratic', 1, clock_timestamp()"
                " WHERE NOT EXISTS (SELECT FROM series_fees)"
            )
    assert counts == [(0,), (0,)]
    assert (await api.ok("/v1/fees/KXOLD"))["in_force"] is not None
