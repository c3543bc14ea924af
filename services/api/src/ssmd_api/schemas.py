"""JSON schemas of what the API answers, in the dialect of OpenAPI 3.1.

A row's columns are those of `ssmd_api.rows`; what a column holds follows from its name, which means
the same in every table.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

from ssmd_api import rows, search
from ssmd_common.apikeys import SCOPES
from ssmd_common.errors import MalformedTime
from ssmd_common.status import EventStatus, MarketStatus
from ssmd_common.times import moment

Schema = dict[str, Any]

_INTEGERS: Final = frozenset(
    [
        "id",
        "yes_bid",
        "yes_ask",
        "no_bid",
        "no_ask",
        "last_price",
        "volume",
        "volume_24h",
        "open_interest",
        "requests",
        "tokens",
        "fetched",
        "inserted",
        "updated",
        "unchanged",
        "deleted",
        "rate_limit_per_minute",
    ]
)
_NUMERICS: Final = frozenset(
    [
        "fee_multiplier",
        "fee_multiplier_override",
        "yes_bid_dollars",
        "yes_ask_dollars",
        "no_bid_dollars",
        "no_ask_dollars",
        "last_price_dollars",
        "volume_fp",
        "volume_24h_fp",
        "open_interest_fp",
        "settlement_value_dollars",
        "floor_strike",
        "cap_strike",
        "maker_fee",
        "taker_fee",
    ]
)
_TIMES: Final = frozenset(
    [
        "exchange_updated_at",
        "created_at",
        "updated_at",
        "strike_date",
        "deleted_at",
        "close_time",
        "open_time",
        "expected_expiration_time",
        "latest_expiration_time",
        "settled_time",
        "observed_at",
        "effective_from",
        "effective_to",
        "open_ts",
        "close_ts",
        "determined_ts",
        "settled_ts",
        "sent_at",
        "received_at",
        "started_at",
        "finished_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    ]
)
_BOOLEANS: Final = frozenset(
    ["is_game", "active", "mutually_exclusive", "can_close_early", "is_provisional"]
)
_JSON: Final = frozenset(
    [
        "settlement_sources",
        "custom_strike",
        "price_ranges",
        "extra",
        "metadata",
        "scope",
        "set_aside",
        "rejected_fields",
    ]
)
_TEXTS: Final = frozenset(["tags", "scopes"])

_NOTES: Final = {
    "yes_bid": "Cents, rounded down; yes_bid_dollars is exact.",
    "no_bid": "Cents, rounded down; no_bid_dollars is exact.",
    "yes_ask": "Cents, rounded up; yes_ask_dollars is exact.",
    "no_ask": "Cents, rounded up; no_ask_dollars is exact.",
    "last_price": "Cents, rounded half up; last_price_dollars is exact.",
    "volume": "Whole contracts.",
    "exchange_status": "The exchange's own word.",
    "extra": "Every field of the exchange without a column of its own.",
    "observed_at": "The observation that last changed the row.",
    "deleted_at": "Set when the exchange does not know it any more.",
}

_NUMBER = re.compile(r"-?\d+(\.\d+)?|NaN|-?Infinity", re.ASCII)

PAGE_CURSOR: Final[Schema] = {
    "type": ["string", "null"],
    "description": "Pass it as `cursor` for the next page; null at the end.",
}


def column(name: str) -> Schema:
    """The schema of one column; any may be null."""
    schema: Schema
    if name in _INTEGERS:
        schema = {"type": ["integer", "null"]}
    elif name in _NUMERICS:
        schema = {"type": ["string", "null"], "pattern": r"^-?\d+(\.\d+)?$"}
    elif name in _TIMES:
        schema = {"type": ["string", "null"], "format": "date-time"}
    elif name in _BOOLEANS:
        schema = {"type": ["boolean", "null"]}
    elif name in _TEXTS:
        schema = {"type": ["array", "null"], "items": {"type": "string"}}
    elif name in _JSON:
        schema = {}
    else:
        schema = {"type": ["string", "null"]}
    return {**schema, "description": _NOTES[name]} if name in _NOTES else schema


def fits(name: str, value: Any) -> bool:
    """Whether a value is what PostgreSQL can have in the column."""
    if value is None or name in _JSON:
        return True
    if name in _BOOLEANS or name in _INTEGERS:
        return type(value) is (bool if name in _BOOLEANS else int)
    if name in _TEXTS:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if not isinstance(value, str):
        return False
    if name in _NUMERICS:
        return _NUMBER.fullmatch(value) is not None
    if name in _TIMES:
        with contextlib.suppress(MalformedTime):
            moment(value)
            return True
        return False
    return True


def row(columns: Sequence[str], **more: Schema) -> Schema:
    """An object with these columns and no others; `more` adds or narrows some."""
    return thing(**{name: column(name) for name in columns} | more)


def thing(**properties: Schema) -> Schema:
    """An object that has exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def page(name: str, items: Schema) -> Schema:
    return thing(**{name: list_of(items), "cursor": PAGE_CURSOR})


_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_MARKET_STATUS: Final[Schema] = {"type": "string", "enum": list(MarketStatus)}
_EVENT_STATUS: Final[Schema] = {"type": "string", "enum": list(EventStatus)}
_BY_MARKET_STATUS: Final = thing(**dict.fromkeys(MarketStatus, _COUNT))
_KEY_COLUMNS: Final = (
    "id",
    "name",
    "key_prefix",
    "scopes",
    "rate_limit_per_minute",
    "created_at",
    "last_used_at",
    "expires_at",
    "revoked_at",
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Series": row(rows.SERIES, ticker=_TEXT),
    "Event": row(rows.EVENTS, event_ticker=_TEXT, status=_EVENT_STATUS),
    "Market": row(rows.MARKETS, ticker=_TEXT, status=_MARKET_STATUS),
    "SeriesFee": row(rows.SERIES_FEES),
    "SeriesDetail": row(
        rows.SERIES,
        ticker=_TEXT,
        fee={"anyOf": [ref("SeriesFee"), {"type": "null"}], "description": "In force now."},
        counts=thing(events=thing(**dict.fromkeys(EventStatus, _COUNT)), markets=_BY_MARKET_STATUS),
    ),
    "SeriesPage": page("series", ref("Series")),
    "ListedEvent": row(rows.EVENTS, event_ticker=_TEXT, status=_EVENT_STATUS, market_count=_COUNT),
    "EventPage": page("events", ref("ListedEvent")),
    "EventDetail": row(
        rows.EVENTS,
        event_ticker=_TEXT,
        status=_EVENT_STATUS,
        market_count=_COUNT,
        series=ref("Series"),
        markets=list_of(ref("Market")),
    ),
    "ListedMarket": row(
        rows.MARKETS,
        ticker=_TEXT,
        status=_MARKET_STATUS,
        event=row(rows.EVENT_OF_MARKET, status=_EVENT_STATUS),
        series=row(rows.SERIES_OF_MARKET),
    ),
    "MarketPage": page("markets", ref("ListedMarket")),
    "MarketDetail": row(
        rows.MARKETS,
        ticker=_TEXT,
        status=_MARKET_STATUS,
        event=ref("Event"),
        series=ref("Series"),
    ),
    "LifecycleEvent": row(rows.LIFECYCLE, event_type=_TEXT),
    "LifecyclePage": thing(
        ticker=_TEXT, lifecycle=list_of(ref("LifecycleEvent")), cursor=PAGE_CURSOR
    ),
    "LookupRequest": {
        **thing(tickers={**list_of(_TEXT), "maxItems": 1000}),
        "example": {"tickers": ["KXBTC15M-26FEB031715-15"]},
    },
    "Lookup": thing(
        markets=list_of(row(rows.LOOKUP, ticker=_TEXT, status=_MARKET_STATUS)),
        missing=list_of(_TEXT),
    ),
    "Tiers": thing(fees=list_of(row(("tier", "maker_fee", "taker_fee"), tier=_TEXT))),
    "FeeSchedule": {
        **thing(
            series_ticker=_TEXT,
            as_of=column("effective_from"),
            in_force={"anyOf": [ref("SeriesFee"), {"type": "null"}]},
            schedule=list_of(ref("SeriesFee")),
            fee=thing(
                price=_TEXT,
                count=_TEXT,
                tier=_TEXT,
                cost={
                    "anyOf": [
                        thing(taker_dollars=_TEXT, maker_dollars=_TEXT),
                        {"type": "null"},
                    ],
                    "description": "Null where nothing is in force or its type is unknown.",
                },
            ),
        ),
        "required": ["series_ticker", "as_of", "in_force", "schedule"],
    },
    "SearchResults": thing(
        results=list_of(
            row(
                search.COLUMNS,
                kind={"type": "string", "enum": list(search.KINDS)},
                ticker=_TEXT,
                status=_TEXT,
                series_ticker=_TEXT,
                rank={"type": "number", "description": "Larger is better."},
            )
        )
    ),
    "SeriesStats": thing(
        series=_COUNT,
        active=_COUNT,
        games=_COUNT,
        by_category=list_of(
            thing(category=column("category"), series=_COUNT, active=_COUNT, games=_COUNT)
        ),
    ),
    "MarketStats": thing(
        markets=_COUNT,
        by_status=_BY_MARKET_STATUS,
        by_category=list_of(
            thing(category=column("category"), markets=_COUNT, by_status=_BY_MARKET_STATUS)
        ),
        by_series=list_of(thing(series_ticker=_TEXT, markets=_COUNT, by_status=_BY_MARKET_STATUS)),
        closing_within=thing(**{"1h": _COUNT, "24h": _COUNT, "7d": _COUNT}),
    ),
    "SyncRun": row(rows.SYNC_RUNS, job=_TEXT, outcome=_TEXT),
    "SyncStats": thing(
        jobs={
            "type": "object",
            "additionalProperties": thing(
                last_success_at=column("finished_at"), last_run=ref("SyncRun")
            ),
        },
        recent_runs=list_of(ref("SyncRun")),
        watermarks={"type": "object", "additionalProperties": column("finished_at")},
    ),
    "KeyRequest": {
        **thing(
            name={"type": "string", "maxLength": 128},
            scopes=list_of({"type": "string", "enum": list(SCOPES)}),
            rate_limit_per_minute={"type": ["integer", "null"], "minimum": 1},
            expires_at={
                "type": ["string", "null"],
                "description": "A time, or a duration from now such as 90d.",
            },
        ),
        "required": ["name"],
        "example": {"name": "my-bot", "scopes": ["read"], "expires_at": "90d"},
    },
    "Key": row(_KEY_COLUMNS),
    "NewKey": row(("key", *_KEY_COLUMNS), key=_TEXT),
    "KeyPage": page("keys", ref("Key")),
    "Problem": {
        **thing(
            type=_TEXT,
            title=_TEXT,
            status={"type": "integer"},
            detail=_TEXT,
            instance=_TEXT,
            request_id=_TEXT,
            errors=list_of(thing(parameter=_TEXT, detail=_TEXT)),
        ),
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
    },
}
