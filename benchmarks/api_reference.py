"""What `api.py` is read against: a bare aiohttp handler, and handlers that run one query.

usage: python benchmarks/api_reference.py PORT DATABASE_URL (started by api.py)
"""

import asyncio
import sys

import uvloop
from aiohttp import web
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool

_WHOLE = """
SELECT json_agg(row_to_json(r)) FROM (
    SELECT m.*, row_to_json(ee) AS event, row_to_json(ss) AS series
    FROM (SELECT * FROM markets WHERE deleted_at IS NULL ORDER BY ticker LIMIT 100) m
    JOIN events e ON e.event_ticker = m.event_ticker
    JOIN series s ON s.ticker = m.series_ticker
    CROSS JOIN LATERAL (SELECT e.event_ticker, e.title, e.sub_title, e.category, e.status,
        e.strike_date, e.mutually_exclusive) ee
    CROSS JOIN LATERAL (SELECT s.ticker, s.title, s.category, s.tags, s.is_game, s.volume) ss
    ORDER BY m.ticker) r
"""
_SPARSE = """
SELECT json_agg(row_to_json(r)) FROM (
    SELECT ticker, status, close_time, yes_bid, yes_ask FROM markets
    WHERE deleted_at IS NULL ORDER BY ticker LIMIT 100) r
"""


async def main(port: int, url: str) -> None:
    async with AsyncConnectionPool(url, max_size=10, kwargs={"autocommit": True}) as pool:

        async def hello(_: web.Request) -> web.Response:
            return web.Response(text="hello")

        async def whole(_: web.Request) -> web.Response:
            return await answered(_WHOLE)

        async def sparse(_: web.Request) -> web.Response:
            return await answered(_SPARSE)

        async def answered(query: str) -> web.Response:
            async with pool.connection() as connection, connection.cursor() as cursor:
                # The text as it is: parsing it would be work of the reference's own.
                cursor.adapters.register_loader("json", TextLoader)
                await cursor.execute(query.encode())
                row = await cursor.fetchone()
            assert row
            return web.Response(body=row[0].encode(), content_type="application/json")

        app = web.Application()
        app.add_routes(
            [
                web.get("/hello", hello),
                web.get("/whole", whole),
                web.get("/sparse", sparse),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
