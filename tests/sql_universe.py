"""A universe of any size in SQL, skewed as the exchange's: for plans and for benchmarks.

Most markets have settled, most trade little, a few series have most of them, and half of all belong
to one category. The same numbers give the same rows.
"""

from dataclasses import dataclass
from typing import Any, Final

import psycopg


@dataclass(frozen=True, slots=True)
class Size:
    """So many rows; a market has its event by its number, an event its series."""

    series: int
    events: int
    markets: int


FULL: Final = Size(series=9_000, events=30_000, markets=90_000)
SMALL: Final = Size(series=300, events=600, markets=3_000)

_FILL_MULTIVARIATE: Final = """
INSERT INTO series (ticker, title, category)
    SELECT 'KXMVE' || s, 'Combo', 'Sports' FROM generate_series(0, 3) s;
INSERT INTO events (event_ticker, series_ticker, status, mve_collection_ticker)
    -- In the order of tickers they stand among the others, and close among them.
    SELECT 'KX' || (ARRAY['MVE', 'SERIES0-MVE'])[1 + e % 2] || e % 4 || '-S' || e, 'KXMVE' || e % 4,
        CASE WHEN e % 5 < 4 THEN 'open' ELSE 'settled' END, 'KXMVE' || e % 4 || '-R'
    FROM generate_series(0, %(count)s - 1) e;
INSERT INTO markets (ticker, event_ticker, series_ticker, title, status, close_time, open_time,
        exchange_status, mve_collection_ticker, mve_selected_legs, custom_strike, extra,
        observed_at, observed_via)
    SELECT event_ticker || '-M', event_ticker, series_ticker,
        'yes the price of the thing, yes another thing, yes what happens in event ' || e,
        CASE status WHEN 'open' THEN 'active' ELSE status END,
        now() + (e * 7 % 2000 - 1500) * interval '1 hour', now() - interval '9 days', 'active',
        mve_collection_ticker,
        jsonb_build_array(
            jsonb_build_object('market_ticker', 'KXSERIES0-26FEB0-T' || e % 500 || '.99',
                'event_ticker', 'KXSERIES0-26FEB0', 'side', 'yes'),
            jsonb_build_object('market_ticker', 'KXOTHER-T' || e, 'event_ticker', 'KXOTHER',
                'side', 'no')),
        '{"Associated Markets": "A,B"}', '{"notional_value_dollars": "1.0000"}', now(), 'rest'
    FROM (SELECT *, row_number() OVER (ORDER BY event_ticker) - 1 AS e FROM events
        WHERE mve_collection_ticker IS NOT NULL) e;
"""
_FILL: Final = """
INSERT INTO series (ticker, title, category, tags, is_game, active, volume, frequency, fee_type,
        fee_multiplier, settlement_sources, contract_url, extra)
    SELECT 'KXSERIES' || s, 'Series number ' || s || ' of things that happen',
        (ARRAY['Sports', 'Sports', 'Sports', 'Politics', 'Politics', 'Economics', 'Crypto',
            'Climate and Weather', 'Entertainment', 'Financials', 'World', 'Companies'])
            [1 + (s * s / 7) % 12],
        ARRAY['Tag ' || s % 300, 'Kind ' || s % 7], s % 9 = 0, s % 12 <> 5,
        (10 ^ (s * 37 % 60 / 10.0))::bigint, 'daily', 'quadratic', 1,
        '[{"name": "The source", "url": "https://example.com/"}]', 'https://example.com/terms',
        '{"contract_terms_url": "https://example.com/t", "prohibitions": ["Insiders"]}'
    FROM generate_series(0, %(series)s - 1) s;
INSERT INTO events (event_ticker, series_ticker, title, sub_title, category, strike_date, status,
        mutually_exclusive, collateral_return_type, extra, exchange_updated_at)
    -- The larger its number the fewer events a series has.
    SELECT ticker || '-26FEB' || e, ticker, 'What happens in event ' || e || ' on the day?',
        'On Feb ' || e % 28, CASE WHEN e % 3 > 0 THEN s.category END,
        CASE WHEN e % 4 > 0 THEN now() + (e * 7 % 2000 - 1500) * interval '1 hour' END,
        CASE WHEN e % 20 = 0 THEN 'closed' WHEN e % 5 < 2 THEN 'open' ELSE 'settled' END,
        e % 2 = 0, 'MECNET', '{"available_on_brokers": true}', now()
    FROM (SELECT e, 'KXSERIES'
            || floor(%(series)s * ((e * 7919 % 10007) / 10007.0) ^ 3)::int AS ticker
        FROM generate_series(0, %(events)s - 1) e) e JOIN series s USING (ticker);
INSERT INTO markets (ticker, event_ticker, series_ticker, title, status, close_time,
        yes_bid, yes_ask, no_bid, no_ask, last_price, volume, volume_24h, open_interest,
        exchange_status, yes_bid_dollars, yes_ask_dollars, no_bid_dollars, no_ask_dollars,
        last_price_dollars, volume_fp, volume_24h_fp, open_interest_fp, open_time,
        expected_expiration_time, latest_expiration_time, settled_time, result, yes_sub_title,
        no_sub_title, market_type, strike_type, floor_strike, can_close_early, rules_primary,
        price_level_structure, price_ranges, custom_strike, extra, exchange_updated_at, observed_at,
        observed_via, deleted_at)
    SELECT event_ticker || '-T' || m || '.99', event_ticker, series_ticker,
        'Will the price of the thing be above ' || m || ' on Feb 3?',
        CASE status WHEN 'open' THEN CASE WHEN m % 25 = 0 THEN 'open' ELSE 'active' END
            ELSE status END,
        CASE WHEN m % 50 > 0 THEN coalesce(strike_date, now() + m % 700 * interval '1 day')
            + m % 60 * interval '1 minute' END,
        45, 46, 54, 55, 45, traded, traded / 10, traded / 3, 'active', 0.4500, 0.4600, 0.5400,
        0.5500, 0.4500, traded + 0.56, traded / 10, traded / 3 + 0.1, now() - interval '9 days',
        now() + interval '2 days', now() + interval '9 days',
        CASE status WHEN 'settled' THEN now() - interval '1 day' END,
        CASE status WHEN 'settled' THEN 'yes' END, '$' || m || ' or above',
        '$' || m || ' or below', 'binary', 'greater', m, true,
        'If the price of the thing at 5 PM EST on Feb 3 is above ' || m || ', then the market '
        'resolves to Yes. Otherwise it resolves to No.', 'linear_cent',
        '[{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]',
        jsonb_build_object('Above', m::text),
        '{"notional_value_dollars": "1.0000", "settlement_timer_seconds": 300}', now(), now(),
        'rest', CASE WHEN m % 500 = 0 THEN now() END
    FROM (SELECT m, CASE WHEN m * 31 % 10 < 4 THEN 0 WHEN m % 97 > 0
            THEN (10 ^ (m * 7919 % 10007 / 10007.0 * 6))::bigint END AS traded,
            floor(%(events)s * (m * 104729 % 99991 / 99991.0) ^ 1.5)::bigint AS at
        FROM generate_series(0::bigint, %(markets)s - 1) m) m
    JOIN (SELECT row_number() OVER (ORDER BY event_ticker) - 1 AS at, * FROM events) e USING (at);
"""


async def fill(connection: psycopg.AsyncConnection[Any], size: Size) -> None:
    """Put that many rows into empty tables of an autocommit connection, and have their plans
    known."""
    cursor = psycopg.AsyncClientCursor(connection)
    await cursor.execute(
        _FILL.replace(" % ", " %% "),
        {"series": size.series, "events": size.events, "markets": size.markets},
    )
    await connection.execute("VACUUM ANALYZE")


async def fill_multivariate(connection: psycopg.AsyncConnection[Any], count: int) -> None:
    """Put that many multivariate markets, each with its event, beside the others."""
    cursor = psycopg.AsyncClientCursor(connection)
    await cursor.execute(_FILL_MULTIVARIATE.replace(" % ", " %% "), {"count": count})
    await connection.execute("VACUUM ANALYZE")
