"""A small universe, written with SQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

NOW = datetime.now(UTC).replace(microsecond=0)


async def insert(connection: psycopg.AsyncConnection[Any], table: str, **row: Any) -> None:
    values = {k: Jsonb(v) if isinstance(v, dict) else v for k, v in row.items()}
    query = psycopg.sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        psycopg.sql.Identifier(table),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values)),
        psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(values)),
    )
    await connection.execute(query, list(values.values()))


async def fill(connection: psycopg.AsyncConnection[Any]) -> None:
    """Three series, four events, eight markets: one of each kind that a filter tells apart."""
    await insert(
        connection,
        "multivariate_collections",
        collection_ticker="KXMVEBTC-R",
        series_ticker="KXMVEBTC",
        title="Combo",
        associated_events=Jsonb([{"ticker": "KXBTCD-26FEB03", "is_yes_only": False}]),
        size_min=2,
    )
    await insert(
        connection,
        "series",
        ticker="KXBTCD",
        title="Bitcoin price",
        category="Crypto",
        tags=["BTC", "Hourly"],
        volume=1000,
        fee_type="quadratic",
        fee_multiplier="0.50",
        settlement_sources=Jsonb([{"name": 'The "CF"\\index', "url": "https://x.test/ü"}]),
        extra=Jsonb({"contract_terms_url": "https://x.test/t"}),
    )
    await insert(
        connection,
        "series",
        ticker="KXNBAGAME",
        title="Pro basketball 100%_game",
        category="Sports",
        tags=["Basketball"],
        is_game=True,
        volume=5,
    )
    await insert(connection, "series", ticker="KXOLD", title="Old", active=False)
    events = (
        ("KXBTCD-26FEB03", "KXBTCD", None, "open", 2),
        ("KXBTCD-26FEB02", "KXBTCD", "Financials", "settled", -20),
        ("KXNBAGAME-26FEB03HOUPIT", "KXNBAGAME", "Sports", "open", 5),
        ("KXOLD-25", "KXOLD", "Politics", "closed", None),
    )
    for event, series, category, status, hours in events:
        await insert(
            connection,
            "events",
            event_ticker=event,
            series_ticker=series,
            category=category,
            status=status,
            title=f"What of {event}?",
            extra=Jsonb({"available_on_brokers": False}),
            strike_date=hours and NOW + timedelta(hours=hours),
        )
    markets = (
        # ticker, event, series, status, hours to close, volume
        ("KXBTCD-26FEB03-T97500.99", "KXBTCD-26FEB03", "KXBTCD", "active", 2, 50),
        ("KXBTCD-26FEB03-T98000", "KXBTCD-26FEB03", "KXBTCD", "open", 2, None),
        ("KXBTCD-26FEB03-T98500", "KXBTCD-26FEB03", "KXBTCD", "closed", -1, 7),
        ("KXBTCD-26FEB02-T90000", "KXBTCD-26FEB02", "KXBTCD", "settled", -20, 900),
        ("KXNBAGAME-26FEB03HOUPIT-HOU", "KXNBAGAME-26FEB03HOUPIT", "KXNBAGAME", "active", 5, 3),
        ("KXNBAGAME-26FEB03HOUPIT-PIT", "KXNBAGAME-26FEB03HOUPIT", "KXNBAGAME", "active", 30, 4),
        ("KXOLD-25-A", "KXOLD-25", "KXOLD", "closed", None, 1),
    )
    for ticker, event, series, status, hours, volume in markets:
        await insert(
            connection,
            "markets",
            ticker=ticker,
            event_ticker=event,
            series_ticker=series,
            status=status,
            title=f"Will {ticker} win?",
            close_time=None if hours is None else NOW + timedelta(hours=hours),
            volume=volume,
            observed_at=NOW - timedelta(seconds=100),
        )
    await insert(
        connection,
        "markets",
        ticker="KXBTCD-26FEB03-GONE",
        event_ticker="KXBTCD-26FEB03",
        series_ticker="KXBTCD",
        deleted_at=NOW,
        title="Gone",
    )
    await connection.execute(
        """
        UPDATE markets SET yes_bid = 45, yes_bid_dollars = 0.4500, volume_fp = 50.10,
            floor_strike = 97500.990, open_time = '2026-02-03 22:05:00.120000+00',
            custom_strike = '{"a": [1.10, null, "x\\"y"], "big": 12345678901234567890123}',
            extra = '{}', price_ranges = '[]', can_close_early = true,
            rules_primary = E'quotes " and \\\\ and\nnewlines, ünïcode'
        WHERE ticker = 'KXBTCD-26FEB03-T97500.99'
        """
    )


async def fill_more(connection: psycopg.AsyncConnection[Any], market: str) -> None:
    """A row of each table that `fill` leaves empty, of a market and of the series KXBTCD."""
    await insert(
        connection,
        "market_lifecycle_events",
        market_ticker=market,
        event_type="created",
        metadata={"a": 1},
        dedupe_key="x",
        sent_at=NOW,
    )
    await insert(connection, "sync_runs", job="j", scope={}, outcome="ok", finished_at=NOW)
    await insert(connection, "sync_watermarks", name="all", watermark=NOW)
    await insert(
        connection,
        "series_fees",
        series_ticker="KXBTCD",
        fee_type="quadratic",
        fee_multiplier="1",
        effective_from=NOW - timedelta(days=1),
    )


async def insert_status(
    connection: psycopg.AsyncConnection[Any], service: str, position: dict[str, Any]
) -> None:
    """A process of a service that says how it is."""
    await insert(
        connection,
        "service_status",
        service=service,
        instance=f"{service}-0",
        host="h",
        pid=1,
        state="leading",
        ready=True,
        reasons={},
        degraded={},
        position=position,
        work=0,
        errors=0,
        version="1",
        started_at=NOW,
        updated_at=NOW,
    )


async def insert_request(connection: psycopg.AsyncConnection[Any], **more: Any) -> None:
    """A request that somebody made."""
    row = {"service": "sync", "task": "everything", "asked_by": "x", "key_id": 10**9, **more}
    await insert(connection, "requests", **row)
