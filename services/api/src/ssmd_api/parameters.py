"""Reading query parameters: every unknown one and every bad value is found, then refused at once.

A handler asks for each parameter that it knows and calls `done()` before it does anything else.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar, cast, get_args

from multidict import MultiMapping

from ssmd_api import cursors, forms, suggestions
from ssmd_api.cursors import Cursor
from ssmd_api.formats import Form, Wished
from ssmd_api.forms import MAX_TEXT
from ssmd_api.paging import Counted, Page, order, sort_keys
from ssmd_api.problems import Fault, bad_parameters
from ssmd_api.shapes import Shape, UnknownField, unknown
from ssmd_common.columns import Column, Kind, Table
from ssmd_common.times import UNIT_SECONDS

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
MAX_VALUES: Final = 50
"""Of one parameter that may be given several times."""
MAX_NAMES: Final = 200
"""Of fields, more than there are; with commas between or given several times."""
COUNTED: Final = get_args(Counted)
FORMULAS: Final = ("kept", "neutral")
LARGEST: Final = 2**63 - 1
_LOST_PLUS = re.compile(r"([T ].*) (\d\d:?\d\d)$", re.ASCII)

_NO_FILTERS: Final = (
    *("sort", "limit", "cursor", "count", "fields", "exclude", "include", "as_of"),
    *("format", "formulas"),
)

T = TypeVar("T")
S = TypeVar("S")


class Parameters:
    """The parameters of one request."""

    def __init__(self, query: MultiMapping[str], now: datetime) -> None:
        self._query = query
        self._asked_at = now
        self.by_the_clock = False
        """Whether what was read depends on when it is asked."""
        self._known: set[str] = set()
        self._faults: list[Fault] = []
        self._explained: dict[str, str] = {}

    @property
    def _now(self) -> datetime:
        self.by_the_clock = True
        return self._asked_at

    def text(self, name: str) -> str | None:
        return self._one(name, text)

    def texts(self, name: str) -> list[str]:
        """A parameter that may be given several times."""
        return self._many(name, text)

    def search(self, name: str) -> list[str]:
        """The words of a search text, each to be found."""
        return self._one(name, words) or []

    def flag(self, name: str) -> bool | None:
        return self._one(name, flag)

    def is_game(self) -> bool | None:
        """`is_game=true|false`, or `games_only=true`."""
        is_game, games_only = self.flag("is_game"), self.games()
        if games_only and is_game is False:
            self.fault("is_game", "contradicts games_only")
        return games_only or is_game

    def games(self) -> bool | None:
        """`games_only`: True, or None where games and others are asked for alike."""
        return self.flag("games_only") or None

    def trading(self) -> bool | None:
        """`trading=yes|no`."""
        asked = self._one("trading", lambda value: one_of(value, ("yes", "no")))
        return None if asked is None else asked == "yes"

    def choices(self, name: str, allowed: Sequence[str]) -> list[str]:
        return self._many(name, lambda value: one_of(value, allowed))

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        return self._one(name, lambda value: one_of(value, allowed)) or default

    def number(self, name: str, lowest: int, highest: int = LARGEST) -> int | None:
        return self._one(name, lambda value: whole_number(value, lowest, highest))

    def price(self, name: str) -> Decimal | None:
        """Dollars of a contract, from 0 to 1."""
        return self._one(name, price)

    def count(self, name: str) -> Decimal | None:
        """Contracts, with parts of one."""
        return self._one(name, count)

    def moment(self, name: str) -> datetime | None:
        return self._one(name, lambda value: moment(value, self._now))

    def as_of(self, name: str = "as_of") -> datetime | None:
        """The moment whose knowledge is asked for; None is now."""
        at = self._one(name, lambda value: past(value, self._now))
        if at is not None and at > self._now:
            self.fault(name, "is in the future")
        return at

    def no_as_of(self, why: str) -> None:
        """Say why there is no `as_of` here, to those who ask for it."""
        self.explain("as_of", why)

    def recorded(self, name: str, column: Column) -> None:
        """Refuse a parameter that goes by a column which has no past."""
        if column.volatile and name in self._query and "as_of" in self._query:
            self.fault(
                name, f"goes by {column.name}, which is not recorded: as of a moment it is null"
            )

    def limit(self) -> int:
        return self.number("limit", 1, MAX_LIMIT) or DEFAULT_LIMIT

    def cursor(
        self, sort: str, kind: Kind | Sequence[Kind] = Kind.INTEGER, filters: str = ""
    ) -> Cursor | None:
        """Where a page begins; an empty one is the list's beginning."""
        if self._query.getall("cursor", []) == [""]:
            self._known.add("cursor")
            return None
        return self._one("cursor", lambda value: cursors.decode(value, sort, kind, filters))

    def shape(self, whole: Shape) -> Shape:
        """What rows show of the whole with what `include` adds: `fields`, without `exclude`."""
        whole, included = self.including(whole)
        shape = self.chosen(whole, whole.selected)
        self.check_included(included, shape)
        return shape

    def including(self, whole: Shape) -> tuple[Shape, list[str]]:
        """The whole with what `include` adds to it, and the names of that."""
        if not whole.includes:
            return whole, []
        found = []
        for name in self.names("include"):
            if name in whole.includes:
                found.append(name)
            else:
                known = ", ".join(whole.includes)
                self.fault("include", f"{unknown(name, whole.includes)} (known: {known})")
        return (whole.including(found) if found else whole), found

    def check_included(self, included: Sequence[str], shape: Shape) -> None:
        """Refuse what is included and then left out, and what has no past."""
        for name in included:
            if name not in shape.members:
                said = "exclude"
                if "fields" in self._query:
                    said = f"fields: name it or a column of it there ({name}.…)"
                self.fault("include", f"{name} is left out by {said}")
        if "lifecycle" in included and "as_of" in self._query:
            self.fault(
                "include", "lifecycle has no past: messages have times of their own; see history"
            )

    def chosen(self, default: S, select: Callable[[list[str], list[str]], S]) -> S:
        """What `select` makes of `fields` and `exclude`; the default where neither is given."""
        fields, exclude = self.names("fields"), self.names("exclude")
        if not fields and not exclude:
            return default
        try:
            return select(fields, exclude)
        except UnknownField:
            self._name_unknown("fields", lambda: select(fields, []))
            self._name_unknown("exclude", lambda: select([], exclude))
        return default

    def wished(self) -> Wished:
        """`format` and `formulas`."""
        form = self._one("format", lambda value: Form(one_of(value, list(Form))))
        neutral = self.choice("formulas", FORMULAS, FORMULAS[0]) != FORMULAS[0]
        if neutral and form not in (None, Form.CSV):
            self.fault("formulas", "is of CSV alone: say format=csv")
        return Wished(form, neutral)

    def names(self, name: str) -> list[str]:
        """Names with commas between, also given several times."""
        found = [part for parts in self._many(name, names, MAX_NAMES) for part in parts]
        if len(found) > MAX_NAMES:
            self.fault(name, f"has more than {MAX_NAMES} names")
            return []
        return found

    def page(self, table: Table, default: str) -> Page:
        """`sort`, `limit`, `cursor` and `count` of a list of the table's rows; the default order is
        that of its key."""
        sort = self._one("sort", lambda value: sorting(value, table, default)) or default
        for name in sort.replace("-", "").split(","):
            self.recorded("sort", table[name])
        filters = cursors.digest(pair for pair in self._query.items() if pair[0] not in _NO_FILTERS)
        keys, last = sort_keys(sort, default)
        kinds = [table.sorts[key.name] for key in keys or [last]]
        cursor = self.cursor(order(sort), kinds, filters)
        counted = self._one("count", lambda value: cast(Counted, one_of(value, COUNTED)))
        return Page(sort, self.limit(), cursor, filters, counted)

    def has(self, name: str) -> bool:
        """Whether the request names it, whatever its value."""
        return name in self._query

    def asked(self) -> list[str]:
        """What the request names, each once."""
        return list(dict.fromkeys(self._query))

    def explain(self, name: str, why: str) -> None:
        """Say of a parameter that is unknown here what to use instead."""
        self._explained[name] = why

    def fault(self, name: str, detail: str) -> None:
        """Refuse a parameter for a reason that only the handler can see."""
        self._faults.append(Fault(name, detail))

    def refuse(self, fault: Fault | None) -> None:
        """The same, where there is one."""
        if fault is not None:
            self._faults.append(fault)

    def done(self) -> None:
        """Raise a 400 that names everything that is wrong."""
        for name in self.asked():
            if name not in self._known:
                said = self._explained.get(name) or suggestions.unknown(name, self._known)
                self.fault(name[:MAX_TEXT], said)
        if self._faults:
            raise bad_parameters(self._faults)

    def _name_unknown(self, name: str, select: Callable[[], object]) -> None:
        try:
            select()
        except UnknownField as error:
            self.fault(name, str(error))

    def _one(self, name: str, read: Callable[[str], T]) -> T | None:
        values = self._many(name, read)
        if len(values) > 1:
            self.fault(name, "is given more than once")
        return values[0] if values else None

    def _many(self, name: str, read: Callable[[str], T], most: int = MAX_VALUES) -> list[T]:
        self._known.add(name)
        values = self._query.getall(name, [])
        if len(values) > most:
            self.fault(name, f"is given more than {most} times")
            return []
        found = []
        for value in values:
            try:
                found.append(read(value))
            except ValueError as error:
                self.fault(name, str(error))
        return found


def orders(table: Table) -> list[str]:
    """What its rows can be sorted by: `name` ascends, `-name` descends."""
    return [f"{sign}{name}" for name in table.sorts for sign in ("", "-")]


def sorting(value: str, table: Table, key: str) -> str:
    """Columns to sort by, with commas between, each with a minus where it descends."""
    asked = [one_of(each, orders(table)) for each in value.split(",")]
    columns = [each.removeprefix("-") for each in asked]
    if len(set(columns)) < len(columns):
        raise ValueError("names a column twice")
    if key in columns[:-1]:
        raise ValueError(f"says nothing after {key}: it tells all rows apart")
    return value


def text(value: str) -> str:
    """A text without control characters, as every ticker, title and name is."""
    if not forms.TEXT.fullmatch(value) or len(value) > MAX_TEXT:
        raise ValueError(f"must have 1 to {MAX_TEXT} characters, and none that controls")
    return value


def names(value: str) -> list[str]:
    """Names with commas between; which there are, others know."""
    if not forms.TEXT.fullmatch(value):
        raise ValueError("must have a name, and no character that controls")
    return value.split(",")


def words(value: str) -> list[str]:
    if not forms.WORDS.fullmatch(text(value)):
        raise ValueError("must have at least 2 characters that are no spaces")
    return value.split()


def flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def one_of(value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return value


def whole_number(value: str, lowest: int, highest: int = LARGEST) -> int:
    if not re.fullmatch(r"-?\d{1,20}", value, re.ASCII) or not lowest <= int(value) <= highest:
        raise ValueError(f"must be a whole number from {lowest} to {highest}")
    return int(value)


def decimal(value: str, form: re.Pattern[str], which: str) -> Decimal:
    if not form.fullmatch(value):
        raise ValueError(f"must be a number {which}, with up to 6 decimals")
    return Decimal(value)


def price(value: str) -> Decimal:
    """Dollars of a contract."""
    return decimal(value, forms.PRICE, "from 0 to 1")


def count(value: str) -> Decimal:
    """Contracts, with parts of one."""
    return decimal(value, forms.COUNT, "below 10^12")


def moment(value: str, now: datetime) -> datetime:
    """An ISO 8601 time (UTC where it names no zone) or a duration from now such as `24h`."""
    try:
        if not forms.MOMENT.fullmatch(value):
            raise ValueError
        if forms.DURATION.fullmatch(value):
            return now + _duration(value)
        return _instant(value)
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time such as 2026-02-03T22:00:00Z or a duration from now such as 24h"
        ) from None


def past(value: str, now: datetime) -> datetime:
    """An ISO 8601 time (UTC where it names no zone) or how long ago, such as `-24h`."""
    try:
        if not forms.PAST.fullmatch(value):
            raise ValueError
        if forms.DURATION.fullmatch(value.removeprefix("-")):
            return now - _duration(value.removeprefix("-"))
        return _instant(value)
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time such as 2026-02-03T22:00:00Z or how long ago, such as -24h"
        ) from None


def _duration(value: str) -> timedelta:
    return timedelta(seconds=int(value[:-1]) * UNIT_SECONDS[value[-1]])


def _instant(value: str) -> datetime:
    read = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", value))
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
