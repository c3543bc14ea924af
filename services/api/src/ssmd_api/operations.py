"""Each operation of the API in words and schemas, as `ssmd_api.openapi` describes it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ssmd_api import (
    changefilter,
    forms,
    search,
    serversent,
    shapes,
    snapshot,
)
from ssmd_api.filters import (
    FILTERS,
    MOMENT,
    MOMENTS,
    MULTIVARIATE,
    PAST,
    TEXT,
    TEXTS,
    WHOLE,
    WORDS,
    EventFilter,
    MarketFilter,
    Parameter,
    SeriesFilter,
    choices,
    parameters,
)
from ssmd_api.formats import MEDIA, Form
from ssmd_api.includes import LAST_STEPS, MOST_MARKETS
from ssmd_api.parameters import (
    COUNTED,
    DEFAULT_LIMIT,
    FORMULAS,
    MAX_LIMIT,
    MAX_NAMES,
    orders,
)
from ssmd_api.schemas import Schema
from ssmd_api.shapes import Shape
from ssmd_common import tables
from ssmd_common.columns import Table
from ssmd_common.tables import PUBLISHED


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
    headers: Sequence[Parameter] = ()
    private: bool = False
    """Whether nobody may keep the reply."""
    missing: bool = False
    """Whether what is asked for, other than by its path, may not be there."""

    @property
    def has_fields(self) -> bool:
        """Whether `fields` and `exclude` choose what rows have."""
        return any(each.name == "fields" for each in self.parameters)

    @property
    def has_forms(self) -> bool:
        """Whether `format` and Accept choose the form of its rows."""
        return any(each.name == "format" for each in self.parameters)

    @property
    def kept(self) -> bool:
        """Whether the reply has an ETag."""
        return self.reply is not None and not self.private


def _sort(table: Table, default: str) -> Parameter:
    one = {"type": "string", "enum": orders(table)}
    return Parameter(
        "sort",
        "The order; a minus descends, null comes last either way. Several with commas between: "
        "equals by the first are sorted by the next.",
        {"type": "array", "items": one, "minItems": 1, "uniqueItems": True, "default": [default]},
        with_commas=True,
    )


_SERIES = Parameter("series", "A series ticker.", TEXT)
_EVENT = Parameter("event", "An event ticker.", TEXT)
_MARKET = Parameter("market", "A market ticker.", TEXT)
_LIMIT = Parameter(
    "limit",
    "Rows at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
CURSOR = Parameter(
    "cursor",
    "Where to go on: `cursor` of the page before; empty at the beginning.",
    {"type": "string", "pattern": forms.whole(forms.CURSOR)},
)
_PAGE = (_LIMIT, CURSOR)
_COUNT = Parameter(
    "count",
    "Also how many rows the whole list has: `exact`, which counts them all, or `estimated`, at "
    "once, by PostgreSQL's statistics.",
    {"type": "string", "enum": list(COUNTED)},
    example="exact",
)
AS_OF = Parameter(
    "as_of",
    "What this database knew then: an ISO 8601 time (UTC where it names no zone) or how long ago:"
    " -24h, -7d. Market data are null.",
    PAST,
)
_MOST_SERIES = Parameter("limit", "Series at most, the largest first.", _LIMIT.schema)
_CATEGORY = Parameter("category", "A category, spelled as the exchange does.", TEXT)


def _fields(names: Iterable[str], of: str = "") -> tuple[Parameter, Parameter]:
    schema = choices(dict.fromkeys(names)) | {"minItems": 1, "maxItems": MAX_NAMES}
    return (
        Parameter(
            "fields",
            f"Only these{of}; names, with commas between or repeated.",
            schema,
            with_commas=True,
        ),
        Parameter("exclude", f"All but these{of}; after `fields`.", schema, with_commas=True),
    )


def _every(shape: Shape) -> tuple[str, ...]:
    return shape.including(shape.includes).names


def _include(*shown: Shape) -> Parameter:
    names = list(dict.fromkeys(name for shape in shown for name in shape.includes))
    return Parameter(
        "include",
        "Bring these along with each row, whole; names, with commas between or repeated. Of "
        f"`lifecycle` the last {LAST_STEPS} events; with `markets` a page of events ends with the "
        f"one with which they are {MOST_MARKETS} or more.",
        choices(names) | {"minItems": 1, "maxItems": MAX_NAMES},
        example=names[-1:],
        with_commas=True,
    )


def _shown(shape: Shape, whole: Shape | None = None) -> tuple[Parameter, ...]:
    """`whole` is what `fields` choose from, where that is more."""
    include = _include(shape)
    fields, exclude = _fields(_every(shape))
    if whole is not None:
        fields = _fields(_every(whole), ", of all columns of the table")[0]
    # As an example, what is included is also shown.
    return (include, replace(fields, example=[shape.table.names[0], *include.example]), exclude)


_OF_TABLES = _fields(
    (name for table in PUBLISHED.values() for name in table.names),
    " of each row's columns; a table that has none is left out",
)
_TIER = Parameter("tier", "The tier of the coefficients.", TEXT)


def _formed(name: str, description: str, form: re.Pattern[str]) -> Parameter:
    return Parameter(name, description, {"type": "string", "pattern": forms.whole(form)})


def _choice(values: Sequence[str], default: str) -> Schema:
    return {"type": "string", "enum": list(values), "default": default}


_ENTITY = Parameter(
    "entity", "Which list; it decides the filters.", _choice(list(FILTERS), "markets")
)
_FILTERS_OF_ALL = list(
    {
        parameter.name: parameter
        for kind in (EventFilter, SeriesFilter, MarketFilter)
        for parameter in parameters(kind)
    }.values()
)
_NAMES_OF_LISTS = [name for shape in shapes.LISTS.values() for name in _every(shape)]
_NAMES = re.compile("(?:{0})(?:,(?:{0}))*".format("|".join(snapshot.TABLES)))


def _formats(default: Form) -> tuple[Parameter, Parameter]:
    return (
        Parameter(
            "format",
            "The form of the reply, whatever Accept says: `json` has the rows in an envelope, "
            "`array` is the rows as JSON, `jsonl` a line of JSON for each, `csv` as RFC 4180 has "
            "it. Without an envelope `Link` and `X-Ssmd-Cursor` lead to the next page.",
            # It has no default: without it Accept decides.
            {"type": "string", "enum": list(Form)},
            example=str(default),
        ),
        Parameter(
            "formulas",
            "In CSV: with `neutral` no text is left that a spreadsheet would run.",
            _choice(FORMULAS, FORMULAS[0]),
            example=FORMULAS[0],
        ),
    )


_FORMATS = _formats(Form.JSON)

IDEMPOTENCY_KEY = _formed(
    "Idempotency-Key",
    "A text of yours: the same one again makes no second request, and shows the first.",
    forms.IDEMPOTENCY_KEY,
)

TAGS: Final = {
    "series": "Series: what recurs, and what kind of it.",
    "events": "Events: what happens once, with the markets on it.",
    "markets": "Markets: what is traded; and what was captured of their trading.",
    "collections": "Collections: what multivariate markets are made of.",
    "fees": "What trading costs.",
    "search": "Finding something by words.",
    "export": "Whole lists.",
    "snapshot": "Whole tables, to begin following changes with.",
    "changes": "What is changed, as it is.",
    "status": "How the services are.",
    "stats": "Counts.",
    "sync": "Asking sync to run.",
    "cache": "Asking the cache to compare.",
    "requests": "What services were asked for.",
    "keys": "API keys.",
}
"""What the operations are of: the first word of their paths."""

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/v1/series"): Operation(
        "List series",
        "SeriesPage",
        (
            *parameters(SeriesFilter),
            _sort(tables.SERIES, "ticker"),
            *_PAGE,
            _COUNT,
            *_shown(shapes.SERIES),
            *_FORMATS,
            AS_OF,
        ),
    ),
    ("GET", "/v1/series/{ticker}"): Operation(
        "A series with the fee in force and its events and markets counted by status",
        "SeriesDetail",
        (*_shown(shapes.ONE_SERIES), AS_OF),
    ),
    ("GET", "/v1/series/{ticker}/history"): Operation(
        "A series' recorded changes, the last first", "SeriesHistory", (*_PAGE, *_FORMATS)
    ),
    ("GET", "/v1/events"): Operation(
        "List events, each with its number of markets",
        "EventPage",
        (
            *parameters(EventFilter),
            _sort(tables.EVENTS, "event_ticker"),
            *_PAGE,
            _COUNT,
            *_shown(shapes.EVENTS),
            *_FORMATS,
            AS_OF,
        ),
    ),
    ("GET", "/v1/events/{event_ticker}"): Operation(
        "An event with its series and its markets",
        "EventDetail",
        (*_shown(shapes.ONE_EVENT), AS_OF),
    ),
    ("GET", "/v1/events/{event_ticker}/history"): Operation(
        "An event's recorded changes, the last first", "EventHistory", (*_PAGE, *_FORMATS)
    ),
    ("GET", "/v1/collections"): Operation(
        "List collections, of which multivariate markets are made",
        "CollectionPage",
        (
            _SERIES,
            Parameter("event", "An event whose markets can be combined.", TEXT),
            *_PAGE,
            *_fields(shapes.COLLECTIONS.names),
        ),
    ),
    ("GET", "/v1/collections/{collection_ticker}"): Operation(
        "A collection", "Collection", _fields(shapes.COLLECTIONS.names)
    ),
    ("GET", "/v1/markets"): Operation(
        "List markets, each with parts of its event and series",
        "MarketPage",
        (
            *parameters(MarketFilter),
            _sort(tables.MARKETS, "ticker"),
            *_PAGE,
            _COUNT,
            *_shown(shapes.MARKETS),
            *_FORMATS,
            AS_OF,
        ),
    ),
    ("POST", "/v1/markets/lookup"): Operation(
        "Which of up to 1,000 tickers exist, and in what status",
        "Lookup",
        (
            *_shown(shapes.LOOKUP, shapes.ANY_LOOKUP),
            AS_OF,
        ),
        body="LookupRequest",
    ),
    ("GET", "/v1/markets/{ticker}"): Operation(
        "A market with its event and series; from the cache if it is there",
        "MarketDetail",
        (*_shown(shapes.ONE_MARKET), AS_OF),
    ),
    ("GET", "/v1/markets/{ticker}/lifecycle"): Operation(
        "A market's lifecycle events, oldest first",
        "LifecyclePage",
        (*_PAGE, *_fields(shapes.LIFECYCLE.names), *_FORMATS),
    ),
    ("GET", "/v1/markets/{ticker}/history"): Operation(
        "A market's recorded changes, the last first", "MarketHistory", (*_PAGE, *_FORMATS)
    ),
    ("GET", "/v1/markets/{ticker}/trades"): Operation(
        "A market's captured trades, the last first", "TradePage", _PAGE
    ),
    ("GET", "/v1/markets/{ticker}/ticker"): Operation(
        "A market's last captured quote", "MarketQuote"
    ),
    ("GET", "/v1/markets/{ticker}/book"): Operation(
        "A market's captured order book as it is now", "MarketBook"
    ),
    ("GET", "/v1/fees"): Operation(
        "The coefficients of the fee formula", "Tiers", (_TIER, AS_OF), missing=True
    ),
    ("GET", "/v1/fees/{series}"): Operation(
        "A series' fee schedule, what is in force, and what a fill costs",
        "FeeSchedule",
        (
            Parameter(
                "as_of",
                f"What is in force then; default now. {MOMENTS}",
                MOMENT,
                example="2026-01-01",
            ),
            Parameter(
                "known_at",
                "By what this database knew then, as `as_of` elsewhere.",
                PAST,
                example="-0s",
            ),
            _formed("price", "Dollars a contract: also say what a fill costs.", forms.PRICE),
            _formed("count", "Contracts of the fill, beside price; default 1.", forms.COUNT),
            _TIER,
        ),
    ),
    ("POST", "/v1/fees/quote"): Operation(
        "What orders cost: fee, cost in all, and the price at which each breaks even",
        "Quotes",
        body="QuoteRequest",
        missing=True,
    ),
    ("GET", "/v1/search"): Operation(
        "Find series, events and markets by words in tickers and titles, the best first",
        "SearchResults",
        (
            Parameter(
                "q",
                "Words; where nothing has them, what is like them.",
                WORDS,
                required=True,
            ),
            Parameter(
                "kind",
                "One of these.",
                choices(search.KINDS),
            ),
            _LIMIT,
            *_FORMATS,
        ),
    ),
    ("GET", "/v1/export"): Operation(
        "Every row of a list, of one state of the database, as a stream",
        None,
        (
            _ENTITY,
            *_formats(Form.JSONL),
            *_FILTERS_OF_ALL,
            _include(*shapes.LISTS.values()),
            *_fields(_NAMES_OF_LISTS, " of what the list has"),
            AS_OF,
        ),
        streams=[media for form in (Form.JSONL, *Form) for media in MEDIA[form]],
    ),
    ("GET", "/v1/snapshot"): Operation(
        "Tables of one state of the database, and where the change stream completes it",
        None,
        (
            Parameter(
                "tables",
                f"Tables, with commas between, of {', '.join(snapshot.TABLES)}; "
                "default all but the last.",
                {**TEXTS, "items": {**TEXT, "pattern": forms.whole(_NAMES)}},
            ),
            _SERIES,
            _EVENT,
            _MARKET,
            MULTIVARIATE,
            *_OF_TABLES,
            AS_OF,
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
                choices(changefilter.TABLES),
            ),
            _SERIES,
            _EVENT,
            _MARKET,
            MULTIVARIATE,
            Parameter("type", "One of these types, such as market_settled.", TEXTS),
            Parameter(
                "after",
                "Begin after this sequence of the stream, as a snapshot names it.",
                WHOLE,
            ),
            *_OF_TABLES,
        ),
        streams=["text/event-stream"],
        headers=(
            _formed("Last-Event-ID", "Go on after this event, by its id.", serversent.EVENT_ID),
        ),
    ),
    ("GET", "/v1/status"): Operation(
        "How every service is, how current and how complete the whole", "Status", private=True
    ),
    ("GET", "/v1/stats/series"): Operation(
        "Series by category, and those with most markets",
        "SeriesStats",
        (_MOST_SERIES, _SERIES, _CATEGORY, AS_OF),
    ),
    ("GET", "/v1/stats/markets"): Operation(
        "Markets by status, category and series, and those that close soon",
        "MarketStats",
        (_MOST_SERIES, _SERIES, _CATEGORY, AS_OF),
    ),
    ("GET", "/v1/stats/sync"): Operation(
        "Each job's last run and success, the latest runs, the resume points",
        "SyncStats",
        (Parameter("limit", "Runs at most, the latest first.", _LIMIT.schema),),
    ),
    ("POST", "/v1/sync/{job}"): Operation(
        "Have a job of sync run now; `Location` is where its result will stand",
        "ServiceRequest",
        status=202,
        headers=(IDEMPOTENCY_KEY,),
        private=True,
    ),
    ("POST", "/v1/cache/verify"): Operation(
        "Have Redis compared with PostgreSQL; `Location` is where the result will stand",
        "ServiceRequest",
        status=202,
        headers=(IDEMPOTENCY_KEY,),
        private=True,
    ),
    ("GET", "/v1/requests"): Operation(
        "What was asked of services, the last first", "ServiceRequestPage", _PAGE, private=True
    ),
    ("GET", "/v1/requests/{id}"): Operation(
        "A request to a service, and what became of it", "ServiceRequest", private=True
    ),
    ("POST", "/v1/keys"): Operation(
        "Make an API key; its text is in this reply only",
        "NewKey",
        body="KeyRequest",
        status=201,
        private=True,
    ),
    ("GET", "/v1/keys"): Operation("List API keys", "KeyPage", _PAGE, private=True),
    ("GET", "/v1/keys/audit"): Operation(
        "Which keys were made and revoked, by whom and from where, the last first",
        "KeyAuditPage",
        _PAGE,
        private=True,
    ),
    ("DELETE", "/v1/keys/{id}"): Operation("Revoke an API key for good", None, status=204),
}
