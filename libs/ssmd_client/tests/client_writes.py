"""Writers of random changes, so that whoever follows has something to follow."""

import asyncio
import random
from contextlib import suppress

import psycopg

UNIVERSE = """
INSERT INTO series (ticker, category, tags)
    SELECT 'S' || n, 'C' || n % 3, '{a,"b c"}' FROM generate_series(0, 9) n;
INSERT INTO events (event_ticker, series_ticker)
    SELECT 'E' || n, 'S' || n FROM generate_series(0, 9) n;
INSERT INTO markets (ticker, event_ticker, series_ticker, yes_bid_dollars, extra, close_time)
    SELECT 'M' || n || '.5', 'E' || n % 10, 'S' || n % 10, 0.4500, '{"a": 1.50}',
           now() + n * interval '1 minute'
    FROM generate_series(0, 999) n;
"""
# {n} is below 1,000, {d} a digit.
STATEMENTS = """
UPDATE markets SET yes_bid_dollars = {n} / 1000.0 WHERE event_ticker = 'E{d}';
UPDATE markets SET status = 'closed', close_time = now() WHERE ticker = 'M{n}.5';
UPDATE markets SET status = 'active', deleted_at = NULL WHERE ticker = 'M{n}.5';
UPDATE markets SET deleted_at = now() WHERE ticker = 'M{n}.5';
UPDATE markets SET custom_strike = '{{"b": [1.50, null], "a": 1e2, "n": {n}}}', volume_fp = {n}.5
    WHERE event_ticker = 'E{d}' AND ticker > 'M9';
DELETE FROM markets WHERE ticker = 'M{n}.5';
INSERT INTO markets (ticker, event_ticker, series_ticker)
    SELECT 'M{n}.5', event_ticker, series_ticker FROM events WHERE event_ticker = 'E{d}'
    ON CONFLICT DO NOTHING;
UPDATE events SET series_ticker = 'S' || {n} % 10 WHERE event_ticker = 'E{d}';
UPDATE series SET category = 'C' || {n} % 3 WHERE ticker = 'S{d}';
DELETE FROM series_fees WHERE series_ticker = 'S{d}';
INSERT INTO series_fees SELECT 'S{d}', 'quadratic', 1, now(), NULL
    WHERE NOT EXISTS (SELECT FROM series_fees WHERE series_ticker = 'S{d}');
UPDATE fees SET maker_fee = {n} / 1000000.0;
INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, received_at, dedupe_key)
    VALUES ('M{n}.5', 'x', '{{"n": 1e2}}', now(), gen_random_uuid()::text)
"""


async def write(database_url: str, seed: int, stop: asyncio.Event) -> int:
    """Change things until `stop`; how many transactions. A server that is away is waited for."""
    chance, statements = random.Random(seed), STATEMENTS.split(";")
    written = 0
    while not stop.is_set():
        with suppress(psycopg.OperationalError):
            async with await psycopg.AsyncConnection.connect(
                database_url, autocommit=True, connect_timeout=2
            ) as connection:
                while not stop.is_set():
                    # Writers that meet may be refused, as good as not having tried.
                    with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.IntegrityError):
                        async with connection.transaction():
                            for _ in range(chance.choice([1, 1, 3])):
                                statement = chance.choice(statements)
                                await connection.execute(
                                    statement.format(
                                        n=chance.randrange(1000), d=chance.randrange(10)
                                    )
                                )
                                await asyncio.sleep(chance.choice([0, 0.01, 0.02]))
                    written += 1
        await asyncio.sleep(0.05)
    return written
