"""Which observation wins: what PostgreSQL decides is what the table of rules says."""

import random
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from observations import Pair, T, market_pairs, parent_pairs, store_parents, store_them

from ssmd_common.models import Event, Market, Series
from ssmd_common.status import market_status
from ssmd_store.observed import seen
from ssmd_store.pages import Store
from ssmd_store.parents import recompute_events
from ssmd_store.rules import RULES, as_markdown

DOCS = Path(__file__).resolve().parents[3] / "docs" / "contracts.md"
SEEDS = range(2)
SECOND = timedelta(seconds=1)


def test_the_documented_table_is_the_one_of_the_code() -> None:
    assert as_markdown() in DOCS.read_text("utf-8")


# --- the table once more, as an independent reader of it would write it down ----------------------


def said(pair: Pair) -> datetime | None:
    return pair.page["exchange_updated_at"]  # type: ignore[no-any-return]


def changed_earlier(pair: Pair, by: timedelta = 0 * SECOND) -> bool:
    """The page's row is a version from before the stored one."""
    stored, page = pair.known("exchange_updated_at"), said(pair)
    return stored is not None and page is not None and page < stored - by


def seen_at(pair: Pair) -> datetime:
    return pair.known("observed_at") or datetime.min.replace(tzinfo=T.tzinfo)


def status_of(pair: Pair) -> str | None:
    return market_status(pair.page["exchange_status"])


def by_a_page(pair: Pair) -> bool:
    return seen_at(pair) <= T and not changed_earlier(pair)


def by_a_message(pair: Pair) -> bool:
    assert pair.stored is not None
    takes_back = pair.stored["status"] == "closed" and status_of(pair) in ("open", "active")
    known_since = pair.known("observed_at")
    too_soon = takes_back and known_since is not None and known_since + 2 * SECOND > T
    return seen_at(pair) < T and not too_soon and not changed_earlier(pair, 10 * SECOND)


def by_the_clock(pair: Pair) -> bool:
    return seen_at(pair) < T and not changed_earlier(pair, 10 * SECOND)


def deleted(pair: Pair) -> bool:
    at = pair.known("deleted_at")
    return at is None or at <= T


def settled(pair: Pair) -> bool:
    assert pair.stored is not None
    if pair.stored["status"] != "settled" or status_of(pair) in ("settled", None):
        return True
    times = [pair.known("exchange_updated_at"), pair.known("settled_time")]
    known, page = [at for at in times if at], said(pair)
    return bool(known) and page is not None and page > max(known)


MARKETS: dict[str, Callable[[Pair], bool]] = {
    "by a page": by_a_page,
    "by a message": by_a_message,
    "by the clock": by_the_clock,
    "deleted": deleted,
    "settled": settled,
}
VIA = {"rest": "by a page", "ws": "by a message", "clock": "by the clock"}


def market_wins(pair: Pair) -> bool:
    if pair.stored is None:
        return True
    applying = (VIA[pair.stored["observed_via"]], "deleted", "settled")
    return all(MARKETS[name](pair) for name in applying)


def event_wins(pair: Pair) -> bool:
    if pair.stored is None or pair.stored["title"] is None:
        return True
    written = pair.known("updated_at")
    return (written is None or written <= T) and not changed_earlier(pair)


def series_wins(pair: Pair) -> bool:
    return pair.stored is None or not changed_earlier(pair)


def becomes(pair: Pair) -> str:
    """The status of a market whose page wins."""
    before, page = (pair.stored or {}).get("status"), pair.page
    status = status_of(pair)
    if status is None:
        return str(before or "open")
    opened, closes = page["open_time"], page["close_time"]
    if before == "closed" and status in ("open", "active") and closes and closes <= T:
        return "closed"
    waits = page["exchange_status"] == "initialized"
    if before == "active" and waits and opened and opened <= T and closes and closes > T:
        return "active"
    return str(status)


def test_every_rule_of_pages_is_tried() -> None:
    of_pages = {(rule.table, rule.stored) for rule in RULES if rule.comes == "a page"}
    tried = {("markets", name) for name in MARKETS} | {("events", "at all"), ("series", "at all")}
    assert of_pages == tried


# --- and what PostgreSQL does ---------------------------------------------------------------------


async def stored(store: Store, table: str, key: str) -> dict[str, dict[str, Any]]:
    found = await store.fetched(f"SELECT to_jsonb(t) FROM {table} t")
    return {row[key]: row for (row,) in found}


def check(
    pairs: Iterable[Pair], rows: dict[str, dict[str, Any]], wins: Callable[[Pair], bool]
) -> None:
    outcomes = set()
    for pair in pairs:
        row, won = rows[pair.ticker], wins(pair)
        outcomes.add(won)
        expected = "page" if won else (pair.stored or {})["title"]
        assert row["title"] == expected, pair
        if "deleted_at" in (pair.stored or {}):
            assert (row["deleted_at"] is None) is (
                won or (pair.stored or {})["deleted_at"] is None
            ), pair
        if won and "status" in (pair.stored or {}):
            assert row["status"] == becomes(pair), pair
    assert outcomes == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
async def test_pages_of_markets(store: Store, seed: int) -> None:
    pairs = market_pairs(random.Random(seed), 800)
    await store_parents(store.connection)
    parents = {"event_ticker": "KXA-1", "series_ticker": "KXA"}
    await store_them(store.connection, pairs, "markets", "ticker", **parents)
    rows = [
        Market(ticker=p.ticker, status=status_of(p), observed_at=T, **parents, **p.page)
        for p in pairs
    ]
    written = await store.write_markets(rows)
    assert not written.rejected_rows
    found = await stored(store, "markets", "ticker")
    check(pairs, found, market_wins)
    moved = [p for p in pairs if p.stored and market_wins(p) and becomes(p) != p.stored["status"]]
    assert written.became == _counted(becomes(p) for p in moved)


@pytest.mark.parametrize("seed", SEEDS)
async def test_pages_of_events(store: Store, seed: int) -> None:
    pairs = parent_pairs(random.Random(seed), 200, key="event_ticker")
    await store_parents(store.connection)
    await store_them(store.connection, pairs, "events", "event_ticker")
    rows = [Event(event_ticker=p.ticker, series_ticker="KXA", **p.page) for p in pairs]
    await store.write_events(seen(rows, T))
    check(pairs, await stored(store, "events", "event_ticker"), event_wins)


@pytest.mark.parametrize("seed", SEEDS)
async def test_pages_of_series(store: Store, seed: int) -> None:
    pairs = parent_pairs(random.Random(seed), 200, key="ticker")
    await store_them(store.connection, pairs, "series", "ticker")
    await store.write_series([Series(ticker=p.ticker, **p.page) for p in pairs])
    check(pairs, await stored(store, "series", "ticker"), series_wins)


def _counted(statuses: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for status in statuses:
        found[status] = found.get(status, 0) + 1
    return found


EVENTS: dict[str, list[tuple[str, datetime | None]]] = {
    "open-none": [],
    "open-active": [("active", None), ("settled", None)],
    "open-open": [("open", None), ("closed", None)],
    "closed-both": [("closed", None), ("settled", None)],
    "settled-all": [("settled", None), ("settled", None)],
    "settled-others": [("settled", None), ("active", T)],
    "open-others": [("active", T)],
}


async def test_an_event_follows_its_markets(store: Store) -> None:
    execute = store.connection.execute
    await execute("INSERT INTO series (ticker) VALUES ('KXA')")
    for event, markets in EVENTS.items():
        query = "INSERT INTO events (event_ticker, series_ticker, status) VALUES (%s, 'KXA', %s)"
        await execute(query, (event, "settled" if event.startswith("closed") else "closed"))
        for number, market in enumerate(markets):
            query = (
                "INSERT INTO markets (ticker, event_ticker, series_ticker, status, deleted_at)"
                " VALUES (%s, %s, 'KXA', %s, %s)"
            )
            await execute(query, (f"{event}-{number}", event, *market))
    await recompute_events(store.connection, list(EVENTS))
    found = await stored(store, "events", "event_ticker")
    assert {ticker: row["status"] for ticker, row in found.items()} == {
        event: event.partition("-")[0] for event in EVENTS
    }
