"""JSON schemas of what the API answers, in the dialect of OpenAPI 3.1.

A row has the columns of its table (`ssmd_common.tables`), or those that `ssmd_api.rows` chooses.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ssmd_api import filters, forms, rows, search, tiers
from ssmd_common import tables
from ssmd_common.apikeys import SCOPES
from ssmd_common.columns import Column, Kind, Table
from ssmd_common.status import EventStatus, MarketStatus
from ssmd_common.times import is_time

Schema = dict[str, Any]

MAX_LOOKUP: Final = 1000
"""Tickers of one look-up."""
MAX_RATE_LIMIT: Final = 1_000_000
"""Requests a minute that a key may be made with."""

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|NaN|-?Infinity")

_OF_KIND: Final[Mapping[Kind, Schema]] = {
    Kind.TEXT: {"type": ["string", "null"]},
    Kind.INTEGER: {"type": ["integer", "null"]},
    Kind.NUMERIC: {"type": ["string", "null"], "pattern": forms.whole(_NUMBER)},
    Kind.TIME: {"type": ["string", "null"], "format": "date-time"},
    Kind.BOOLEAN: {"type": ["boolean", "null"]},
    Kind.TEXTS: {"type": ["array", "null"], "items": {"type": "string"}},
    Kind.JSON: {},
}

PAGE_CURSOR: Final[Schema] = {
    "type": ["string", "null"],
    "description": "Pass it as `cursor` for the next page; null at the end.",
}


def column(shown: Column) -> Schema:
    """The schema of one column; any may be null."""
    schema = _OF_KIND[shown.kind]
    return {**schema, "description": shown.note} if shown.note else schema


def fits(shown: Column, value: Any) -> bool:
    """Whether a value is what PostgreSQL can have in the column."""
    return value is None or _FITS[shown.kind](value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


_FITS: Final[Mapping[Kind, Callable[[Any], bool]]] = {
    Kind.TEXT: lambda value: isinstance(value, str),
    Kind.INTEGER: lambda value: type(value) is int,
    Kind.NUMERIC: lambda value: isinstance(value, str) and _NUMBER.fullmatch(value) is not None,
    Kind.TIME: lambda value: isinstance(value, str) and is_time(value),
    Kind.BOOLEAN: lambda value: type(value) is bool,
    Kind.TEXTS: _is_texts,
    Kind.JSON: lambda _: True,
}


def row(table: Table, **more: Schema) -> Schema:
    """An object with a table's columns and no others; `more` adds or narrows some."""
    return thing(**{each.name: column(each) for each in table.columns} | more)


def thing(**properties: Schema) -> Schema:
    """An object that has exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def including(schema: Schema, **optional: Schema) -> Schema:
    """The same object, which may have these properties, too."""
    return {**schema, "properties": {**schema["properties"], **optional}}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def page(name: str, items: Schema) -> Schema:
    return thing(**{name: list_of(items), "cursor": PAGE_CURSOR})


def counted_page(name: str, items: Schema) -> Schema:
    """A page that says what the whole list has where `count` asks for it."""
    found = page(name, items)
    count = {**_COUNT, "description": "Rows of the whole list, with `count` alone."}
    return {**found, "properties": {**found["properties"], "count": count}}


_TEXT: Final[Schema] = {"type": "string"}
TIER_SOURCE: Final[Schema] = {
    **_TEXT,
    "description": f"`{tiers.OF_TABLE}`: the exchange's; else where a configured tier is from.",
}
_TIME: Final = _OF_KIND[Kind.TIME]
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_COUNTED_AT: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "description": "When it was counted: up to 5 seconds ago.",
}
_VERSION_KINDS: Final = ("added", "changed", "removed")


def _version(table: Table) -> Schema:
    """A change of a row, without the columns that are not recorded."""
    kept = Table(table.name, tuple(each for each in table.columns if not each.volatile))
    whole = row(kept)
    changes = {each.name: thing(old=column(each), new=column(each)) for each in kept.columns}
    return thing(
        number={**_COUNT, "description": "Later changes have larger ones."},
        at={**_OF_KIND[Kind.TIME], "type": "string", "description": "When it was committed."},
        xid={**_COUNT, "description": "Its transaction, as in the change stream."},
        kind={"type": "string", "enum": list(_VERSION_KINDS)},
        data={
            "anyOf": [whole, {"type": "null"}],
            "description": "The row from then on; null where it was removed.",
        },
        before={
            "anyOf": [whole, {"type": "null"}],
            "description": "The row that was removed; else null.",
        },
        changes={
            "type": "object",
            "properties": changes,
            "additionalProperties": False,
            "description": "Of a row that was changed: what changed.",
        },
    )


_MARKET_STATUS: Final[Schema] = {"type": "string", "enum": list(MarketStatus)}
_EVENT_STATUS: Final[Schema] = {"type": "string", "enum": list(EventStatus)}
_BY_MARKET_STATUS: Final = thing(**dict.fromkeys(MarketStatus, _COUNT))
FEES: Final[Schema] = {
    "anyOf": [ref("FeesInForce"), {"type": "null"}],
    "description": "In force then, with `include=fees`; null where nothing is.",
}
_MARKETS: Final = list_of(ref("Market"))
_STEPS: Final = {
    **list_of(ref("LifecycleEvent")),
    "description": "The last ones, the oldest of them first, with `include=lifecycle`.",
}


OF_LOOKUP: Final = {
    "event": ref("Event"),
    "series": ref("Series"),
    "lifecycle": _STEPS,
    "fees": FEES,
}
"""What may come along with a market that is looked up."""


def _partly(whole: Table, usual: Table, **more: Schema) -> Schema:
    """A parent with the usual columns, and with all where it is included."""
    described = row(whole, **more)
    return {**described, "required": list(usual.names)}


SCHEMAS: Final[dict[str, Schema]] = {
    "FeesInForce": row(rows.FEES_IN_FORCE),
    "Series": row(tables.SERIES, ticker=_TEXT),
    "Event": row(tables.EVENTS, event_ticker=_TEXT, status=_EVENT_STATUS),
    "Market": row(tables.MARKETS, ticker=_TEXT, status=_MARKET_STATUS),
    "SeriesFee": row(tables.SERIES_FEES),
    "SeriesDetail": including(
        row(
            tables.SERIES,
            ticker=_TEXT,
            fee={"anyOf": [ref("SeriesFee"), {"type": "null"}], "description": "In force now."},
            counts=thing(
                events=thing(**dict.fromkeys(EventStatus, _COUNT)), markets=_BY_MARKET_STATUS
            ),
        ),
        fees=FEES,
    ),
    "ListedSeries": including(row(tables.SERIES, ticker=_TEXT), fees=FEES),
    "SeriesPage": counted_page("series", ref("ListedSeries")),
    "ListedEvent": including(
        row(tables.EVENTS, event_ticker=_TEXT, status=_EVENT_STATUS, market_count=_COUNT),
        series=ref("Series"),
        markets=_MARKETS,
        fees=FEES,
    ),
    "EventPage": counted_page("events", ref("ListedEvent")),
    "EventDetail": including(
        row(
            tables.EVENTS,
            event_ticker=_TEXT,
            status=_EVENT_STATUS,
            market_count=_COUNT,
            series=ref("Series"),
            markets=_MARKETS,
        ),
        fees=FEES,
    ),
    "Collection": row(tables.COLLECTIONS, collection_ticker=_TEXT, series_ticker=_TEXT),
    "CollectionPage": thing(collections=list_of(ref("Collection")), cursor=PAGE_CURSOR),
    "ListedMarket": including(
        row(
            rows.MARKET,
            ticker=_TEXT,
            status=_MARKET_STATUS,
            event=_partly(tables.EVENTS, rows.EVENT_OF_MARKET, status=_EVENT_STATUS),
            series=_partly(tables.SERIES, rows.SERIES_OF_MARKET),
        ),
        lifecycle=_STEPS,
        fees=FEES,
    ),
    "MarketPage": counted_page("markets", ref("ListedMarket")),
    "MarketDetail": including(
        row(
            rows.MARKET,
            ticker=_TEXT,
            status=_MARKET_STATUS,
            event=ref("Event"),
            series=ref("Series"),
        ),
        lifecycle=_STEPS,
        fees=FEES,
    ),
    "LifecycleEvent": row(tables.LIFECYCLE, event_type=_TEXT),
    "LifecyclePage": thing(
        ticker=_TEXT, lifecycle=list_of(ref("LifecycleEvent")), cursor=PAGE_CURSOR
    ),
    **{
        f"{name}History": thing(
            **{key: _TEXT},
            history=list_of(_version(table)),
            record_begins={**_TIME, "description": "What was before is not known."},
            cursor=PAGE_CURSOR,
        )
        for name, key, table in (
            ("Series", "ticker", tables.SERIES),
            ("Event", "event_ticker", tables.EVENTS),
            ("Market", "ticker", tables.MARKETS),
        )
    },
    "LookupRequest": {
        **thing(tickers={**list_of(filters.TEXT), "maxItems": MAX_LOOKUP}),
        "example": {"tickers": ["KXBTC15M-26FEB031715-15"]},
    },
    "Lookup": thing(
        markets=list_of(
            including(row(rows.LOOKUP, ticker=_TEXT, status=_MARKET_STATUS), **OF_LOOKUP)
        ),
        missing=list_of(_TEXT),
    ),
    "Tiers": thing(fees=list_of(row(tables.FEES, tier=_TEXT, source=TIER_SOURCE))),
    "FeeSchedule": {
        **thing(
            series_ticker=_TEXT,
            as_of=_TIME,
            in_force={"anyOf": [ref("SeriesFee"), {"type": "null"}]},
            schedule=list_of(ref("SeriesFee")),
            fee=thing(
                price=_TEXT,
                count=_TEXT,
                tier=_TEXT,
                tier_source=TIER_SOURCE,
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
            thing(
                kind={"type": "string", "enum": list(search.KINDS)},
                ticker=_TEXT,
                title=_OF_KIND[Kind.TEXT],
                status=_TEXT,
                series_ticker=_TEXT,
                event_ticker=_OF_KIND[Kind.TEXT],
                rank={"type": "number", "description": "Larger is better."},
            )
        )
    ),
    "SeriesStats": thing(
        series=_COUNT,
        active=_COUNT,
        games=_COUNT,
        by_category=list_of(
            thing(category=_OF_KIND[Kind.TEXT], series=_COUNT, active=_COUNT, games=_COUNT)
        ),
        by_series=list_of(
            thing(
                series_ticker=_TEXT,
                category=_OF_KIND[Kind.TEXT],
                active={"type": "boolean"},
                events=_COUNT,
                markets=_COUNT,
            )
        ),
        counted_at=_COUNTED_AT,
    ),
    "MarketStats": thing(
        markets=_COUNT,
        by_status=_BY_MARKET_STATUS,
        by_category=list_of(
            thing(category=_OF_KIND[Kind.TEXT], markets=_COUNT, by_status=_BY_MARKET_STATUS)
        ),
        by_series=list_of(thing(series_ticker=_TEXT, markets=_COUNT, by_status=_BY_MARKET_STATUS)),
        closing_within=thing(**{"1h": _COUNT, "24h": _COUNT, "7d": _COUNT}),
        counted_at=_COUNTED_AT,
    ),
    "SyncRun": row(rows.SYNC_RUNS, job=_TEXT, outcome=_TEXT),
    "SyncStats": thing(
        jobs={
            "type": "object",
            "additionalProperties": thing(last_success_at=_TIME, last_run=ref("SyncRun")),
        },
        recent_runs=list_of(ref("SyncRun")),
        watermarks={"type": "object", "additionalProperties": _TIME},
    ),
    "KeyRequest": {
        **thing(
            name=filters.TEXT,
            scopes={
                **list_of({"type": "string", "enum": list(SCOPES)}),
                "minItems": 1,
                "default": ["read"],
            },
            rate_limit_per_minute={
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": MAX_RATE_LIMIT,
            },
            expires_at={
                **filters.MOMENT,
                "type": ["string", "null"],
                "description": f"In the future. {filters.MOMENTS}",
            },
        ),
        "required": ["name"],
        "example": {"name": "my-bot", "scopes": ["read"], "expires_at": "90d"},
    },
    "Key": row(rows.KEYS),
    "NewKey": thing(key=_TEXT, **row(rows.KEYS)["properties"]),
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
