"""The OpenAPI 3.1 document of the API: `/openapi.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from ssmd_api import changefilter, lists, search, snapshot, tabular
from ssmd_api.parameters import DEFAULT_LIMIT, MAX_LIMIT, MAX_TEXT
from ssmd_api.schemas import SCHEMAS, Schema, ref
from ssmd_api.statusschemas import STATUS_SCHEMAS
from ssmd_common.status import EventStatus, MarketStatus

_TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_FLAG: Final[Schema] = {"type": "boolean"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT, "maxItems": 50}
_MOMENT: Final = "An ISO 8601 time (UTC where it names no zone) or a duration from now: 24h, 7d."


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter."""

    name: str
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Operation:
    """What is said of one route; `reply` and `body` name schemas."""

    summary: str
    reply: str | None
    parameters: Sequence[Parameter] = ()
    body: str | None = None
    status: int = 200
    streams: Sequence[str] = ()
    """The media types of a reply that is a stream of lines."""


def _sort(sorts: dict[str, LiteralString], default: str) -> Parameter:
    names = [f"{sign}{name}" for name in sorts for sign in ("", "-")]
    schema = {"type": "string", "enum": names, "default": default}
    return Parameter("sort", "The order; a minus descends. Null comes last either way.", schema)


_CATEGORY = Parameter("category", "A category, spelled as the exchange does.", _TEXT)
_TAG = Parameter("tag", "A tag of the series; given several times, one of them.", _TEXTS)
_SERIES = Parameter("series", "A series ticker.", _TEXT)
_GAMES = Parameter("games_only", "Only what belongs to series about single games.", _FLAG)
_WORDS = Parameter(
    "q", "Words that all stand in the ticker or the title.", {**_TEXT, "minLength": 2}
)
_BEFORE = Parameter("closing_before", f"Closes before this. {_MOMENT}", _TEXT)
_AFTER = Parameter("closing_after", f"Closes then or later. {_MOMENT}", _TEXT)
_LIMIT = Parameter(
    "limit",
    "Rows at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
_CURSOR = Parameter("cursor", "Where to go on: `cursor` of the page before.", {"type": "string"})
_PAGE = (_LIMIT, _CURSOR)
_TIER = Parameter("tier", "The tier of the coefficients.", _TEXT)


def _statuses(values: Sequence[str], note: str) -> Parameter:
    schema: Schema = {"type": "array", "items": {"type": "string", "enum": list(values)}}
    return Parameter("status", note, schema)


def _choice(values: Sequence[str], default: str) -> Schema:
    return {"type": "string", "enum": list(values), "default": default}


_ENTITY = Parameter(
    "entity", "Which list; it decides the filters.", _choice(tabular.ENTITIES, "markets")
)
_FORMAT = Parameter("format", "The form of the lines.", _choice([*tabular.CONTENT_TYPES], "jsonl"))
_MARKET_FILTERS = (
    Parameter("category", "The event's category, else its series'.", _TEXT),
    _statuses(list(MarketStatus), "One of these; open means not yet closed."),
    _SERIES,
    Parameter("event", "An event ticker.", _TEXT),
    _TAG,
    _GAMES,
    _BEFORE,
    _AFTER,
    Parameter("min_volume", "Contracts traded at least.", {"type": "integer", "minimum": 0}),
    _WORDS,
)

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/v1/series"): Operation(
        "List series",
        "SeriesPage",
        (
            _CATEGORY,
            _TAG,
            Parameter("is_game", "Whether the series is about single games.", _FLAG),
            _GAMES,
            Parameter("active", "Whether the exchange still lists it.", _FLAG),
            _WORDS,
            _sort(lists.SERIES_SORTS, "ticker"),
            *_PAGE,
        ),
    ),
    ("GET", "/v1/series/{ticker}"): Operation(
        "A series with the fee in force and its events and markets counted by status",
        "SeriesDetail",
    ),
    ("GET", "/v1/events"): Operation(
        "List events, each with its number of markets",
        "EventPage",
        (
            _CATEGORY,
            _statuses(list(EventStatus), "One of these."),
            _SERIES,
            _TAG,
            _GAMES,
            Parameter("closing_before", f"Some market closes before this. {_MOMENT}", _TEXT),
            Parameter("closing_after", f"Some market closes then or later. {_MOMENT}", _TEXT),
            _WORDS,
            _sort(lists.EVENT_SORTS, "event_ticker"),
            *_PAGE,
        ),
    ),
    ("GET", "/v1/events/{event_ticker}"): Operation(
        "An event with its series and its markets", "EventDetail"
    ),
    ("GET", "/v1/markets"): Operation(
        "List markets, each with parts of its event and series",
        "MarketPage",
        (
            *_MARKET_FILTERS,
            _sort(lists.MARKET_SORTS, "ticker"),
            *_PAGE,
        ),
    ),
    ("POST", "/v1/markets/lookup"): Operation(
        "Which of up to 1,000 tickers exist, and in what status", "Lookup", body="LookupRequest"
    ),
    ("GET", "/v1/markets/{ticker}"): Operation(
        "A market with its event and series; from the cache if it is there", "MarketDetail"
    ),
    ("GET", "/v1/markets/{ticker}/lifecycle"): Operation(
        "A market's lifecycle events, oldest first", "LifecyclePage", _PAGE
    ),
    ("GET", "/v1/fees"): Operation("The coefficients of the fee formula", "Tiers", (_TIER,)),
    ("GET", "/v1/fees/{series}"): Operation(
        "A series' fee schedule, what is in force, and what a fill costs",
        "FeeSchedule",
        (
            Parameter("as_of", f"What is in force then; default now. {_MOMENT}", _TEXT),
            Parameter("price", "Dollars a contract: also say what a fill costs.", _TEXT),
            Parameter("count", "Contracts of the fill; default 1.", _TEXT),
            _TIER,
        ),
    ),
    ("GET", "/v1/search"): Operation(
        "Find series, events and markets by words in tickers and titles, the best first",
        "SearchResults",
        (
            Parameter(
                "q",
                "Words; where nothing has them, what is like them.",
                _WORDS.schema,
            ),
            Parameter(
                "kind",
                "One of these.",
                {"type": "array", "items": {"type": "string", "enum": list(search.KINDS)}},
            ),
            _LIMIT,
        ),
    ),
    ("GET", "/v1/export"): Operation(
        "Every row of a list, of one state of the database, as a stream",
        None,
        (
            Parameter(
                "entity",
                "Which list; it decides the filters.",
                _choice(tabular.ENTITIES, "markets"),
            ),
            Parameter(
                "format", "The form of the lines.", _choice(list(tabular.CONTENT_TYPES), "jsonl")
            ),
            *_MARKET_FILTERS,
        ),
        streams=list(tabular.CONTENT_TYPES.values()),
    ),
    ("GET", "/v1/snapshot"): Operation(
        "Tables of one state of the database, and where the change stream completes it",
        None,
        (
            Parameter(
                "tables",
                f"Tables, with commas between, of {', '.join(snapshot.TABLES)}; "
                "default all but the last.",
                _TEXTS,
            ),
            _SERIES,
            Parameter("event", "An event ticker.", _TEXT),
            Parameter("market", "A market ticker.", _TEXT),
        ),
        streams=["application/x-ndjson"],
    ),
    ("GET", "/v1/changes"): Operation(
        "Changes as they are committed, as server-sent events; Last-Event-ID resumes",
        None,
        (
            Parameter(
                "table",
                "One of these.",
                {"type": "array", "items": {"type": "string", "enum": list(changefilter.TABLES)}},
            ),
            _SERIES,
            Parameter("event", "An event ticker.", _TEXT),
            Parameter("market", "A market ticker.", _TEXT),
            Parameter("type", "One of these types, such as market_settled.", _TEXTS),
            Parameter(
                "after",
                "Begin after this sequence of the stream, as a snapshot names it.",
                {"type": "integer", "minimum": 0},
            ),
        ),
        streams=["text/event-stream"],
    ),
    ("GET", "/v1/status"): Operation(
        "How every service is, how current and how complete the whole", "Status"
    ),
    ("GET", "/v1/stats/series"): Operation("Series by category", "SeriesStats"),
    ("GET", "/v1/stats/markets"): Operation(
        "Markets by status, category and series, and those that close soon",
        "MarketStats",
        (Parameter("limit", "Series at most, the largest first.", _LIMIT.schema),),
    ),
    ("GET", "/v1/stats/sync"): Operation(
        "Each job's last run and success, the latest runs, the resume points",
        "SyncStats",
        (Parameter("limit", "Runs at most, the latest first.", _LIMIT.schema),),
    ),
    ("POST", "/v1/keys"): Operation(
        "Make an API key; its text is in this reply only", "NewKey", body="KeyRequest", status=201
    ),
    ("GET", "/v1/keys"): Operation("List API keys", "KeyPage", _PAGE),
    ("DELETE", "/v1/keys/{id}"): Operation("Revoke an API key for good", None, status=204),
}

_ERRORS: Final = {
    "400": "A parameter is unknown or has a bad value; it is named.",
    "401": "No key, or one that is wrong, expired or revoked.",
    "403": "The key lacks the scope.",
    "404": "There is no such thing.",
    "410": "The stream does not hold what comes next: take a new snapshot.",
    "429": "The key's rate limit is used up, or the address sent too many wrong keys.",
    "503": "The database does not answer, or more is asked of it than it has connections for.",
}


def document(scopes: dict[tuple[str, str], str], version: str) -> dict[str, Any]:
    """The whole document; `scopes` says for each route which scope a key needs."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        described = _operation(method, path, operation, scopes[method, path])
        paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ssmd secmaster",
            "version": version,
            "description": "A security master for Kalshi prediction markets: series, events, "
            "markets, fees and lifecycle, as the exchange lists them. Integers are integers, exact "
            "decimals are strings, times are RFC 3339 in UTC.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, **STATUS_SCHEMAS},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "responses": {status: _problem(text) for status, text in _ERRORS.items()},
        },
    }


def _operation(method: str, path: str, operation: Operation, scope: str) -> dict[str, Any]:
    in_path = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}{path.replace('/', '_').translate(_PLAIN)}",
        "tags": [path.split("/")[2]],
        "summary": operation.summary,
        "description": f"Needs a key with scope `{scope}`.",
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in in_path),
            *(_parameter(parameter) for parameter in operation.parameters),
        ],
        "responses": {
            str(operation.status): _reply(operation),
            **{
                status: {"$ref": f"#/components/responses/{status}"}
                for status in _ERRORS
                if (status != "404" or in_path or operation.parameters == (_TIER,))
                and (status != "410" or "text/event-stream" in operation.streams)
            },
        },
    }
    if operation.body:
        content = {"application/json": {"schema": ref(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


_PLAIN = str.maketrans("", "", "{}")


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _reply(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"description": operation.summary}
    if operation.reply:
        described["content"] = {"application/json": {"schema": ref(operation.reply)}}
    if operation.streams:
        described["content"] = {
            media: {"schema": {"type": "string"}} for media in operation.streams
        }
    return described


def _problem(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {"description": description, "content": content}
