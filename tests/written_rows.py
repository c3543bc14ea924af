"""Fixtures of those who write rows: makers of rows, and a store on a database of its own."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from ssmd_common.models import Event, Market, Series
from ssmd_store.pages import Store

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest_asyncio.fixture
async def store(database: Any) -> AsyncIterator[Store]:
    async with database.connect() as connection:
        yield await Store.on(connection)


@pytest.fixture
def series() -> Callable[..., Series]:
    def make(ticker: str = "KXA", **more: Any) -> Series:
        return Series(ticker=ticker, **{"title": f"Series {ticker}", "category": "Crypto", **more})

    return make


@pytest.fixture
def event() -> Callable[..., Event]:
    def make(ticker: str = "KXA-1", **more: Any) -> Event:
        prefix = ticker.partition("-")[0]
        return Event(
            event_ticker=ticker,
            **{
                "title": f"Event {ticker}",
                "series_ticker": prefix,
                **more,
            },
        )

    return make


@pytest.fixture
def market() -> Callable[..., Market]:
    def make(ticker: str = "KXA-1-T1", **more: Any) -> Market:
        return Market(
            ticker=ticker,
            **{
                "event_ticker": ticker.rpartition("-")[0],
                "series_ticker": "",
                "title": f"Market {ticker}",
                "status": "active",
                "exchange_status": "active",
                "close_time": T0 + timedelta(days=30),
                "yes_bid_dollars": Decimal("0.5450"),
                "yes_bid": 54,
                "exchange_updated_at": T0,
                "observed_at": T0 + timedelta(minutes=1),
                **more,
            },
        )

    return make
