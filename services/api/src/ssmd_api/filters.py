"""The filters of lists: one line for each, with the query parameters that ask for it.

Routes read them, and OpenAPI describes them, from here; what they mean in SQL is in
`ssmd_api.lists`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar, get_type_hints

from ssmd_api import forms, ranges
from ssmd_api.kinds import Multivariate
from ssmd_api.parameters import LARGEST, MAX_VALUES, Parameters
from ssmd_api.ranges import Bound, Operator, Range
from ssmd_common import tables
from ssmd_common.columns import Column, Kind, Table
from ssmd_common.status import NOT_YET_CLOSED, EventStatus, MarketStatus

Schema = dict[str, Any]

TEXT: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": forms.MAX_TEXT,
    "pattern": forms.whole(forms.TEXT),
}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT, "maxItems": MAX_VALUES}
WORDS: Final[Schema] = {**TEXT, "minLength": 2, "pattern": forms.whole(forms.WORDS)}
WHOLE: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST}
MOMENT: Final[Schema] = {"type": "string", "pattern": forms.whole(forms.MOMENT)}
MOMENTS: Final = "An ISO 8601 time (UTC where it names no zone) or a duration from now: 24h, 7d."
PAST: Final[Schema] = {"type": "string", "pattern": forms.whole(forms.PAST)}
_FLAG: Final[Schema] = {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter, as OpenAPI describes it."""

    name: str
    description: str
    schema: Schema
    required: bool = False
    example: Any = None
    """Where `ssmd_api.examples` has none by the name."""
    with_commas: bool = False
    """Whether several values may stand in one text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Beside a filter's type: how it is read from a request, and the parameters that say it."""

    read: Callable[[Parameters], Any]
    parameters: tuple[Parameter, ...]


def choices(values: Iterable[str]) -> Schema:
    """Of a parameter that may be given several times."""
    one = {"type": "string", "enum": list(values)}
    return {"type": "array", "items": one, "maxItems": MAX_VALUES}


def _texts(name: str, description: str) -> Asked:
    described = Parameter(name, f"{description}; given several times, one of them.", TEXTS)
    return Asked(lambda given: given.texts(name), (described,))


def _moment(name: str, description: str) -> Asked:
    described = Parameter(name, f"{description} {MOMENTS}", MOMENT)
    return Asked(lambda given: given.moment(name), (described,))


def _statuses(allowed: type[StrEnum], description: str) -> Asked:
    described = Parameter("status", description, choices(allowed))
    return Asked(lambda given: given.choices("status", list(allowed)), (described,))


_COMPARED: Final = {
    Operator.GT: "Above this.",
    Operator.GTE: "This or above.",
    Operator.LT: "Below this.",
    Operator.LTE: "This or below.",
}
_COMPARED_TIMES: Final = {
    Operator.GT: "After this.",
    Operator.GTE: "Then or later.",
    Operator.LT: "Before this.",
    Operator.LTE: "Then or earlier.",
}


def _range(column: Column, operator: Operator) -> Parameter:
    name = f"{column.name}.{operator}"
    if operator is Operator.NULL:
        return Parameter(name, "Whether there is none.", _FLAG, example=False)
    if column.kind is Kind.TIME:
        said = f"{_COMPARED_TIMES[operator]} {MOMENTS}"
        return Parameter(name, said, MOMENT, example=_FAR[operator in ranges.LOWER])
    return Parameter(name, _COMPARED[operator], WHOLE, example=_MANY[operator in ranges.LOWER])


_FAR: Final = {True: "2026-01-01", False: "52w"}
_MANY: Final = {True: 0, False: 1_000_000_000}
"""Examples that leave something."""


def _ranges(table: Table, older: Mapping[str, Bound] = MappingProxyType({})) -> Asked:
    described = [
        _range(column, operator) for column in ranges.ranged(table) for operator in Operator
    ]
    return Asked(lambda given: ranges.read(table, given, older), tuple(described))


_ACTIVE: Final = Parameter("active", "Whether the exchange still lists it.", _FLAG)
_GAMES_ONLY: Final = Parameter(
    "games_only", "Only what belongs to series about single games.", _FLAG
)
_IS_GAME: Final = Parameter("is_game", "Whether the series is about single games.", _FLAG)
_MIN_VOLUME: Final = Parameter("min_volume", "Contracts traded at least.", WHOLE)
_TRADING: Final = Parameter(
    "trading",
    "`yes`: only what trades now, which is `active`; `no`: only what has another status.",
    {"type": "string", "enum": ["yes", "no"]},
)
_Q: Final = Parameter("q", "Words that all stand in the ticker or the title.", WORDS)
_TAG: Final = Parameter("tag", "A tag of the series; given several times, one of them.", TEXTS)

MULTIVARIATE: Final = Parameter(
    "multivariate",
    "Markets that combine others, with their events: `exclude` leaves them out, `include` shows"
    " them among the others, `only` shows nothing else.",
    {"type": "string", "enum": list(Multivariate), "default": Multivariate.EXCLUDE},
)


def multivariate(given: Parameters) -> Multivariate:
    return Multivariate(given.choice(MULTIVARIATE.name, list(Multivariate), Multivariate.EXCLUDE))


Texts = Sequence[str]
Flag = bool | None
Moment = datetime | None

Category = Annotated[Texts, _texts("category", "A category, spelled as the exchange does")]
Series = Annotated[Texts, _texts("series", "A series ticker")]
Events = Annotated[Texts, _texts("event", "An event ticker")]
Ranges = Sequence[Range]
Tags = Annotated[Texts, Asked(lambda given: given.texts("tag"), (_TAG,))]
Games = Annotated[Flag, Asked(Parameters.games, (_GAMES_ONLY,))]
Kinds = Annotated[Multivariate, Asked(multivariate, (MULTIVARIATE,))]
Collections = Annotated[
    Texts, _texts("collection", "The ticker of a collection, of multivariate ones")
]
Words = Annotated[Texts, Asked(lambda given: given.search("q"), (_Q,))]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFilter:
    """A series has one of the tags, and each of the words in its ticker or title; `series` are
    tickers."""

    series: Series = ()
    category: Category = ()
    tags: Tags = ()
    is_game: Annotated[Flag, Asked(Parameters.is_game, (_IS_GAME, _GAMES_ONLY))] = None
    active: Annotated[Flag, Asked(lambda given: given.flag("active"), (_ACTIVE,))] = None
    words: Words = ()
    ranges: Annotated[Ranges, _ranges(tables.SERIES)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """`category` is the event's own, else its series'. With `closing_before` (exclusive) or
    `closing_after` (inclusive) some market of the event closes in that time."""

    category: Category = ()
    statuses: Annotated[Texts, _statuses(EventStatus, "One of these.")] = ()
    event: Events = ()
    series: Series = ()
    tags: Tags = ()
    is_game: Games = None
    closing_before: Annotated[
        Moment, _moment("closing_before", "Some market closes before this.")
    ] = None
    closing_after: Annotated[
        Moment, _moment("closing_after", "Some market closes then or later.")
    ] = None
    words: Words = ()
    multivariate: Kinds = Multivariate.EXCLUDE
    collection: Collections = ()
    ranges: Annotated[Ranges, _ranges(tables.EVENTS)] = ()

    @property
    def shown_kinds(self) -> Multivariate:
        """What has a collection is multivariate."""
        return Multivariate.ONLY if self.collection else self.multivariate


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFilter:
    """`min_volume` is the market's own, in whole contracts; `ticker` are markets'."""

    category: Annotated[Texts, _texts("category", "The event's category, else its series'")] = ()
    statuses: Annotated[
        Texts,
        _statuses(
            MarketStatus, "One of these; open means not yet closed, so its rows say open or active."
        ),
    ] = ()
    series: Series = ()
    trading: Annotated[Flag, Asked(Parameters.trading, (_TRADING,))] = None
    ticker: Annotated[Texts, _texts("ticker", "A market ticker")] = ()
    event: Events = ()
    tags: Tags = ()
    is_game: Games = None
    closing_before: Annotated[Moment, _moment("closing_before", "Closes before this.")] = None
    closing_after: Annotated[Moment, _moment("closing_after", "Closes then or later.")] = None
    min_volume: Annotated[
        int | None, Asked(lambda given: given.number("min_volume", 0), (_MIN_VOLUME,))
    ] = None
    words: Words = ()
    multivariate: Kinds = Multivariate.EXCLUDE
    collection: Collections = ()
    leg: Annotated[
        str | None,
        Asked(
            lambda given: given.text("leg"),
            (Parameter("leg", "A market that multivariate ones combine with others.", TEXT),),
        ),
    ] = None
    ranges: Annotated[
        Ranges,
        _ranges(
            tables.MARKETS,
            {
                "closing_after": ("close_time", Operator.GTE),
                "closing_before": ("close_time", Operator.LT),
                "min_volume": ("volume", Operator.GTE),
            },
        ),
    ] = ()

    @property
    def shown_kinds(self) -> Multivariate:
        """What has a collection, or legs, is multivariate."""
        return Multivariate.ONLY if self.collection or self.leg else self.multivariate

    @property
    def words_of_status(self) -> list[str]:
        """What rows may say; none are named where they may say anything."""
        # Open means not yet closed.
        also = NOT_YET_CLOSED if MarketStatus.OPEN in self.statuses else ()
        asked = {*self.statuses, *map(str, also)}
        if self.trading is None:
            return sorted(asked)
        trades = {str(MarketStatus.ACTIVE)}
        fits = trades if self.trading else set(map(str, MarketStatus)) - trades
        return sorted(asked & fits if asked else fits)


_BY_COLUMN: Final = {_MIN_VOLUME.name: tables.MARKETS["volume"]}
"""Filters by columns that have no past."""

Filter = SeriesFilter | EventFilter | MarketFilter
F = TypeVar("F", SeriesFilter, EventFilter, MarketFilter)

FILTERS: Final = {"series": SeriesFilter, "events": EventFilter, "markets": MarketFilter}
"""Of each list."""


def read(kind: type[F], given: Parameters) -> F:
    """The filters that a request asks for."""
    for name, column in _BY_COLUMN.items():
        given.recorded(name, column)
    wanted = kind(**{name: asked.read(given) for name, asked in _ASKED[kind].items()})
    _check(wanted, given)
    return wanted


def _check(wanted: Filter, given: Parameters) -> None:
    if isinstance(wanted, MarketFilter) and wanted.statuses and not wanted.words_of_status:
        given.fault("trading", f"leaves nothing beside status={wanted.statuses[0]}")
    if isinstance(wanted, SeriesFilter):
        return
    of_legs = wanted.leg if isinstance(wanted, MarketFilter) else None
    if wanted.multivariate is Multivariate.EXCLUDE:
        for name, value in (("collection", wanted.collection), ("leg", of_legs)):
            if value:
                given.fault(name, "is of multivariate markets: ask with multivariate=only")
    elif wanted.words and not (wanted.event or of_legs or getattr(wanted, "ticker", ())):
        given.fault("q", "finds no multivariate ones, unless by event, ticker or leg as well")


def parameters(kind: type[Filter]) -> list[Parameter]:
    """What a list can be filtered by."""
    return [parameter for asked in _ASKED[kind].values() for parameter in asked.parameters]


_ASKED: Final[dict[type[Filter], dict[str, Asked]]] = {
    kind: {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(kind, include_extras=True).items()
    }
    for kind in FILTERS.values()
}
