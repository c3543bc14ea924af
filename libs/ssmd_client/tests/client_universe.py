"""A small universe, written with SQL: two series, three events, six markets."""

from typing import Any

import psycopg

SERIES = """
INSERT INTO series (ticker, title, category, tags, is_game, fee_type, fee_multiplier, volume,
        extra)
    VALUES ('KXBTCD', 'Bitcoin price', 'Crypto', '{BTC,Hourly}', false, 'quadratic', 1, 1000,
            '{"contract_terms_url": "https://x.test/t", "n": 1.10}'),
           ('KXNBAGAME', 'Pro basketball game', 'Sports', '{Basketball}', true,
            'quadratic_with_maker_fees', 0.5, 5, NULL);
INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from, effective_to)
    VALUES ('KXBTCD', 'quadratic', 0.5, '2025-01-01Z', '2026-01-01Z'),
           ('KXBTCD', 'quadratic', 1, '2026-01-01Z', NULL);
INSERT INTO events (event_ticker, series_ticker, title, category, status, strike_date)
    VALUES ('KXBTCD-1', 'KXBTCD', 'Bitcoin at five?', NULL, 'open', now() + interval '2 hours'),
           ('KXBTCD-0', 'KXBTCD', 'Bitcoin at four?', 'Financials', 'settled',
            now() - interval '20 hours'),
           ('KXNBAGAME-1', 'KXNBAGAME', 'Houston at Pittsburgh?', 'Sports', 'open',
            now() + interval '5 hours');
INSERT INTO markets (ticker, event_ticker, series_ticker, title, status, close_time, volume,
        observed_at)
    VALUES ('KXBTCD-1-T97500.99', 'KXBTCD-1', 'KXBTCD', 'Above 97500.99?', 'active',
            now() + interval '2 hours', 50, now()),
           ('KXBTCD-1-T98000', 'KXBTCD-1', 'KXBTCD', 'Above 98000?', 'open',
            now() + interval '2 hours', NULL, now()),
           ('KXBTCD-0-T90000', 'KXBTCD-0', 'KXBTCD', 'Above 90000?', 'settled',
            now() - interval '20 hours', 900, now()),
           ('KXNBAGAME-1-HOU', 'KXNBAGAME-1', 'KXNBAGAME', 'Houston?', 'active',
            now() + interval '5 hours', 3, now()),
           ('KXNBAGAME-1-PIT', 'KXNBAGAME-1', 'KXNBAGAME', 'Pittsburgh?', 'active',
            now() + interval '30 hours', 4, now()),
           ('KXFAR', 'KXNBAGAME-1', 'KXNBAGAME', 'Ever?', 'closed', 'infinity', 4, now());
UPDATE markets SET yes_bid = 45, yes_bid_dollars = 0.4500, volume_fp = 50.10,
        floor_strike = 97500.990, open_time = '2026-02-03 22:05:00.12Z',
        custom_strike = '{"a": [1.10, null, "x"], "big": 12345678901234567890123}',
        extra = '{}', price_ranges = '[]', can_close_early = true, rules_primary = 'If so.'
    WHERE ticker = 'KXBTCD-1-T97500.99';
INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, dedupe_key, sent_at)
    SELECT 'KXBTCD-1-T98000', 'created', '{"n": 1}', 'key' || n, now()
    FROM generate_series(1, 3) n;
"""


async def fill(connection: psycopg.AsyncConnection[Any]) -> None:
    for statement in SERIES.split(";\n"):
        await connection.execute(statement)
