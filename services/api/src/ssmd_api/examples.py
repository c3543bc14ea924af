"""Examples for the OpenAPI document: what a schema describes, with values as the exchange has them.

A property's example follows from its name, else from its type, so that a new column needs
nothing here. The series and its tickers are of a kind that the exchange and the simulator list
every quarter of an hour.
"""

from collections.abc import Mapping
from typing import Any, Final

from ssmd_api.schemas import Schema

SERIES: Final = "KXBTC15M"
COLLECTION: Final = "KXMVESPORTSMULTIGAMEEXTENDED-R"
EVENT: Final = "KXBTC15M-26FEB031715"
MARKET: Final = "KXBTC15M-26FEB031715-15"

_TIME: Final = "2026-02-03T22:00:00Z"
_BY_NAME: Final[Mapping[str, Any]] = {
    "ticker": MARKET,
    "event_ticker": EVENT,
    "collection_ticker": COLLECTION,
    "mve_collection_ticker": None,
    "mve_selected_legs": None,
    "series_ticker": SERIES,
    "market_ticker": MARKET,
    "tickers": [MARKET],
    "missing": ["NO-SUCH-MARKET"],
    "title": "BTC price up in next 15 mins?",
    "category": "Crypto",
    "tags": ["BTC"],
    "frequency": "fifteen_min",
    "fee_type": "quadratic",
    "fee_multiplier": "1",
    "yes_bid": 54,
    "yes_bid_dollars": "0.5400",
    "yes_ask": 56,
    "yes_ask_dollars": "0.5600",
    "exchange_status": "active",
    "result": None,
    "deleted_at": None,
    "settled_time": None,
    "revoked_at": None,
    "settlement_sources": [{"name": "CF Benchmarks", "url": "https://www.cfbenchmarks.com/"}],
    "extra": {},
    "price": "0.55",
    "count": "100",
    "tier": "default",
    "taker_dollars": "1.74",
    "maker_dollars": "0.44",
    "tier_source": "table fees",
    "source": "table fees",
    "at": _TIME,
    "fee_dollars": "1.7325",
    "cost_dollars": "56.7325",
    "break_even_dollars": "0.567325",
    "event_type": "created",
    "cursor": None,
    "name": "my-bot",
    "scopes": ["read"],
    "rate_limit_per_minute": 600,
    "key_prefix": "q7Tn0xWc2L",
    "key": "sk_live_q7Tn0xWc2L_…",
    "sentence": "current as of 2026-02-03 22:00:00 UTC, complete since 2026-01-05 08:12:31 UTC",
    "job": "active_markets",
    "task": "active_markets",
    "asked_by": "my-bot",
    "worker": "ssmd-sync-0:7",
    "error": None,
    "outcome": "ok",
    "status": "active",
    "state": "serving",
    "services": {},
}
_BY_TYPE: Final[Mapping[str, Any]] = {
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "string": "…",
    "null": None,
}
_OF: Final[Mapping[str, Mapping[str, Any]]] = {
    "Series": {"ticker": SERIES, "title": "Bitcoin price up or down"},
    "SeriesDetail": {"ticker": SERIES, "title": "Bitcoin price up or down"},
    "Problem": {
        "type": "urn:ssmd:problem:not-found",
        "title": "No such market",
        "status": 404,
        "detail": f"no market is called '{MARKET}'",
        "instance": f"/v1/markets/{MARKET}",
        "request_id": "5f0d0f3c9a3b4c1e8a6d2b7f4e1c9a05",
    },
}
"""Where a name has another meaning, by schema."""

_LINE: Final = f'{{"ticker":"{MARKET}","event_ticker":"{EVENT}",…}}\n'
STREAMS: Final[Mapping[str, Any]] = {
    "text/csv": f"ticker,event_ticker,title,status,…\r\n{MARKET},{EVENT},BTC …,active,…\r\n",
    "application/x-ndjson": _LINE,
    "application/jsonl": _LINE,
    "application/json": {"markets": [{"ticker": MARKET, "event_ticker": EVENT}], "cursor": None},
    "application/vnd.ssmd.array+json": [{"ticker": MARKET, "event_ticker": EVENT}],
    "text/event-stream": "retry: 2000\n\n"
    "id: 81231@01JQ:0/5A3C2F18:3\nevent: market_updated\n"
    f'data: {{"table":"markets","op":"update","data":{{"ticker":"{MARKET}","yes_bid":54,…}},…}}\n',
}
PARAMETERS: Final[Mapping[str, Any]] = {
    "ticker": MARKET,
    "event_ticker": EVENT,
    "series": SERIES,
    "event": EVENT,
    "collection_ticker": COLLECTION,
    "collection": COLLECTION,
    "leg": MARKET,
    "multivariate": "only",
    "market": MARKET,
    "id": 1,
    "job": "active_markets",
    "category": "Crypto",
    "tag": ["BTC"],
    "q": "bitcoin",
    "closing_before": "24h",
    "closing_after": "0s",
    "min_volume": 100,
    "price": "0.55",
    "count": "100",
    "tier": "default",
    "type": ["market_settled"],
    "tables": ["series", "markets"],
    "table": ["markets"],
    "after": 0,
    "Last-Event-ID": "81231@01JQ:0/5A3C2F18:3",
    "Idempotency-Key": "sync-before-the-close",
    # The beginning, which is in every list; and a moment that is in every record.
    "cursor": "",
    "as_of": "-0s",
}
_DETAILS: Final[Mapping[str, tuple[str, str, str]]] = {
    "400": (
        "bad-parameter",
        "A parameter is unknown or has a bad value",
        "volume_min: is unknown here; the nearest is volume.gte",
    ),
    "401": ("unauthorized", "A valid API key is required", "the key is not known"),
    "403": (
        "forbidden",
        "The API key may not do this",
        "this needs a key with scope 'admin'",
    ),
    "404": ("not-found", "No such market", f"no market is called '{MARKET}'"),
    "406": (
        "not-acceptable",
        "Not Acceptable",
        "there is none of what Accept names. There are: format=json is application/json; …",
    ),
    "408": ("request-timeout", "Request Timeout", "the body did not come within 10 s"),
    "410": (
        "stream-gone",
        "The stream does not hold what comes next",
        "take a new snapshot (/v1/snapshot) and go on after its sequence",
    ),
    "413": ("request-entity-too-large", "Request Entity Too Large", "Maximum request body size"),
    "422": (
        "idempotency-key-reused",
        "The Idempotency-Key is another request's",
        "request 1 of this key has it, which is for 'active_markets' of sync",
    ),
    "429": ("too-many-requests", "Too many requests", "this key may make 600 requests a minute"),
    "500": ("internal", "The API failed", "this is a fault of the API, and logged"),
    "503": (
        "unavailable",
        "Something behind the API is away",
        "PostgreSQL does not answer",
    ),
}


def problem(status: str) -> dict[str, Any]:
    """The document of an error."""
    kind, title, detail = _DETAILS[status]
    found = dict(_OF["Problem"])
    found |= {"type": f"urn:ssmd:problem:{kind}", "title": title, "detail": detail}
    found |= {"status": int(status)}
    if status == "400":
        name, _, why = detail.partition(": ")
        found["errors"] = [{"parameter": name, "detail": why}]
    return found


def of_parameter(name: str, schema: Schema) -> Any:
    """A value of a parameter that has no example of its own."""
    if "default" in schema:
        return schema["default"]
    if "enum" in schema.get("items", {}):
        # Two names that differ: the one that is to be there, and the one that is not.
        return [schema["items"]["enum"][name == "exclude"]]
    return schema["enum"][0] if "enum" in schema else example(schema, {})


def example(schema: Schema, schemas: Mapping[str, Schema], of: str = "") -> Any:
    """A value that fits the schema; `of` names the schema that it stands in."""
    if "$ref" in schema:
        of = schema["$ref"].rpartition("/")[2]
        return example(schemas[of], schemas, of)
    if "example" in schema:
        return schema["example"]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas, of)
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        named = {**_BY_NAME, **_OF.get(of, {})}
        return {
            name: named[name] if _fits(named, name, inner) else example(inner, schemas, of)
            for name, inner in schema["properties"].items()
            if of != "Problem" or name in named
        }
    if "items" in schema:
        return [example(schema["items"], schemas, of)]
    kind = schema.get("type", "null")
    kind = kind if isinstance(kind, str) else kind[0]
    if kind == "object":
        return {}
    if kind == "string":
        return _TIME if schema.get("format") == "date-time" else _text(schema)
    return max(_BY_TYPE[kind], schema.get("minimum", 0)) if kind == "integer" else _BY_TYPE[kind]


def _text(schema: Schema) -> str:
    return "0.5400" if "pattern" in schema else str(_BY_TYPE["string"])


def _fits(named: Mapping[str, Any], name: str, schema: Schema) -> bool:
    """Whether the name's example is a value of this schema: names mean more than one thing."""
    if name not in named or {"$ref", "anyOf", "properties", "example"} & schema.keys():
        return False
    value = named[name]
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema.get("type")
    if kinds is None:
        return True
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return any(isinstance(value, _PYTHON[kind]) for kind in kinds) and not (
        isinstance(value, list) and "$ref" in schema["items"]
    )


_PYTHON: Final[Mapping[str, Any]] = {
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "string": str,
    "null": type(None),
    "array": list,
    "object": dict,
}
