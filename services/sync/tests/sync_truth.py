"""The exchange's truth, from its own words and none of our code."""

from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

Raw = dict[str, Any]

STATUS = {
    "initialized": "open",
    "active": "active",
    "inactive": "open",
    "closed": "closed",
    "determined": "closed",
    "disputed": "closed",
    "amended": "closed",
    "finalized": "settled",
}


def text(name: str) -> Callable[[Raw], Any]:
    return lambda raw: raw.get(name) or None


def flag(name: str) -> Callable[[Raw], Any]:
    return lambda raw: raw.get(name)


def number(name: str) -> Callable[[Raw], Any]:
    return lambda raw: None if raw.get(name) in (None, "") else Decimal(str(raw[name]))


def moment(name: str) -> Callable[[Raw], Any]:
    def read(raw: Raw) -> datetime | None:
        value = raw.get(name)
        if not value or value.startswith("0001"):
            return None
        return datetime.fromisoformat(value)

    return read


def rounded(name: str, rounding: str, places: int = 2) -> Callable[[Raw], Any]:
    def read(raw: Raw) -> int | None:
        exact = number(name)(raw)
        if exact is None:
            return None
        return int((exact * 10**places).to_integral_value(rounding))

    return read


def said(*names: str) -> Callable[[Raw], Any]:
    """Those fields that say something, as they are."""
    empty = (None, "", [], {})
    return lambda raw: {name: raw[name] for name in names if raw.get(name) not in empty}


# Every column of the models.
MARKET: dict[str, Callable[[Raw], Any]] = {
    **{name: text(name) for name in (
        "ticker", "event_ticker", "series_ticker", "title", "result", "expiration_value",
        "yes_sub_title", "no_sub_title", "market_type", "strike_type", "custom_strike",
        "rules_primary", "price_level_structure", "price_ranges", "mve_collection_ticker",
        "mve_selected_legs",
    )},
    **{name: number(name) for name in (
        "yes_bid_dollars", "yes_ask_dollars", "no_bid_dollars", "no_ask_dollars",
        "last_price_dollars", "volume_fp", "volume_24h_fp", "open_interest_fp",
        "settlement_value_dollars", "floor_strike", "cap_strike",
    )},
    **{name: moment(name) for name in (
        "close_time", "open_time", "expected_expiration_time", "latest_expiration_time",
    )},
    "status": lambda raw: STATUS[raw["status"]],
    "exchange_status": text("status"),
    "yes_bid": rounded("yes_bid_dollars", ROUND_FLOOR),
    "no_bid": rounded("no_bid_dollars", ROUND_FLOOR),
    "yes_ask": rounded("yes_ask_dollars", ROUND_CEILING),
    "no_ask": rounded("no_ask_dollars", ROUND_CEILING),
    "last_price": rounded("last_price_dollars", ROUND_HALF_UP),
    "volume": rounded("volume_fp", ROUND_DOWN, 0),
    "volume_24h": rounded("volume_24h_fp", ROUND_DOWN, 0),
    "open_interest": rounded("open_interest_fp", ROUND_DOWN, 0),
    "settled_time": moment("settlement_ts"),
    "can_close_early": flag("can_close_early"),
    "is_provisional": flag("is_provisional"),
    "exchange_updated_at": moment("updated_time"),
}  # fmt: skip
EVENT: dict[str, Callable[[Raw], Any]] = {
    **{name: text(name) for name in (
        "event_ticker", "title", "category", "series_ticker", "sub_title", "strike_period",
        "collateral_return_type", "fee_type_override",
    )},
    "strike_date": moment("strike_date"),
    # The exchange says it of markets only.
    "mve_collection_ticker": lambda raw: None,
    "mutually_exclusive": flag("mutually_exclusive"),
    "extra": said(
        "available_on_brokers", "exchange_index", "product_metadata", "settlement_sources"
    ),
    "fee_multiplier_override": number("fee_multiplier_override"),
    "exchange_updated_at": moment("last_updated_ts"),
}  # fmt: skip
SERIES: dict[str, Callable[[Raw], Any]] = {
    **{name: text(name) for name in (
        "ticker", "title", "category", "frequency", "fee_type", "settlement_sources",
        "contract_url",
    )},
    "tags": flag("tags"),
    "extra": said(
        "additional_prohibitions", "categories", "contract_terms_url", "exchange_index",
        "product_metadata",
    ),
    "is_game": lambda raw: "GAME" in raw["ticker"] or "MATCH" in raw["ticker"],
    "active": lambda raw: True,
    "volume": rounded("volume_fp", ROUND_DOWN, 0),
    "fee_multiplier": number("fee_multiplier"),
    "exchange_updated_at": moment("last_updated_ts"),
}  # fmt: skip

QUOTES = (
    *("yes_bid", "yes_ask", "no_bid", "no_ask", "last_price"),
    *("yes_bid_dollars", "yes_ask_dollars", "no_bid_dollars", "no_ask_dollars"),
    *("last_price_dollars", "volume", "volume_24h", "open_interest"),
    *("volume_fp", "volume_24h_fp", "open_interest_fp"),
)
"""Columns that are null in a multivariate market."""

OWN = {"observed_at", "observed_via", "extra"}
"""Columns of a market that are not one field of the exchange; tested by themselves."""


def expected(raw: dict[str, Raw], columns: dict[str, Callable[[Raw], Any]]) -> dict[str, Raw]:
    return {
        ticker: {name: read(row) for name, read in columns.items()} for ticker, row in raw.items()
    }


def stored(rows: list[Raw], key: str, columns: dict[str, Callable[[Raw], Any]]) -> dict[str, Raw]:
    return {row[key]: {name: row[name] for name in columns} for row in rows}


async def assert_truth(sync: Any, exchange: Any, *, settled_too: bool = True) -> None:
    """Every series, every event and market that is not settled, and no others but settled ones."""
    rows = await sync.rows("SELECT * FROM series WHERE active")
    assert stored(rows, "ticker", SERIES) == expected(await exchange.series(), SERIES)

    raw = await exchange.markets()
    found = {
        row["ticker"]: row
        for row in await sync.rows("SELECT * FROM markets WHERE deleted_at IS NULL")
    }
    wanted = {t: m for t, m in raw.items() if m["status"] != "finalized"}
    assert not wanted.keys() - found.keys()
    assert not found.keys() - raw.keys()
    for ticker, row in found.items():
        if settled_too or raw[ticker]["status"] != "finalized":
            assert {name: row[name] for name in MARKET} == expected({ticker: raw[ticker]}, MARKET)[
                ticker
            ]

    events = await exchange.events()
    rows = await sync.rows("SELECT * FROM events WHERE deleted_at IS NULL")
    kept = {row["event_ticker"] for row in rows}
    assert {m["event_ticker"] for m in wanted.values()} <= kept
    assert stored(rows, "event_ticker", EVENT) == expected(
        {ticker: events[ticker] for ticker in kept}, EVENT
    )
    for event in rows:
        statuses = {
            row["status"] for row in found.values() if row["event_ticker"] == event["event_ticker"]
        }
        if not statuses or statuses & {"open", "active"}:
            assert event["status"] == "open"
        else:
            assert event["status"] == ("settled" if statuses == {"settled"} else "closed")
