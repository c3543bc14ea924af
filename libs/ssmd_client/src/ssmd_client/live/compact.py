"""Rows from JSON with little memory: equal values are one object, and what is long is left out."""

from collections.abc import Callable
from decimal import Decimal
from sys import intern
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from ssmd_client import rows
from ssmd_client.decoding import Partial
from ssmd_client.errors import NotLoaded
from ssmd_client.frames import WORDS
from ssmd_common.columns import Column, Kind
from ssmd_common.memo import Memo
from ssmd_common.tables import PUBLISHED
from ssmd_common.times import moment

R = TypeVar("R", bound=msgspec.Struct)

LEFT_OUT: Final = ("rules_primary", "extra", "settlement_sources", "metadata")
"""Columns that a live view loads when they are asked for."""

TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "series": rows.Series,
    "events": rows.Event,
    "markets": rows.Market,
    "series_fees": rows.SeriesFee,
    "fees": rows.FeeTier,
}
"""What a live view holds."""

_ADDED: Final = {
    "events": ("mve_collection_ticker",),
    "markets": ("mve_collection_ticker", "mve_selected_legs", "category"),
}
"""Columns that a server of the version before does not send."""

_WIRE: Final = {
    Kind.TEXT: str | None,
    Kind.INTEGER: int | None,
    Kind.NUMERIC: str | None,
    Kind.TIME: str | None,
    Kind.BOOLEAN: bool | None,
    Kind.TEXTS: list[str] | None,
    Kind.JSON: msgspec.Raw,
}
_json: Final = msgspec.json.Decoder(float_hook=Decimal)
_numbers: Final[Memo[Decimal]] = Memo(Decimal)
_times: Final[Memo[Any]] = Memo(moment)
# One spelling, whoever wrote it: equal rows are equal.
_texts_of_json: Final[Memo[bytes]] = Memo(lambda text: msgspec.json.format(text, indent=-1))

_NULL: Final = b"null"
_MANIFOLD: Final = ("volume_fp", "volume_24h_fp", "open_interest_fp", "floor_strike", "cap_strike")
"""Numbers of which nearly every row has another: kept as the texts they came as."""
_REPEATED: Final = frozenset((*WORDS, "event_ticker", "series_ticker"))
"""Texts that many rows have."""


class NotARow(ValueError):
    """The JSON is not a row of its table."""


class Compact(Partial, frozen=True, gc=False):
    """A row of a live view. JSON, and some numbers, are made when they are asked for: each such
    column is a field with an underscore before its name."""

    def __getattr__(self, name: str) -> Any:
        # Only called for what is no field.
        if name in LEFT_OUT:
            raise NotLoaded(
                f"a live view does not hold {name!r}: `await secmaster.load(…)` reads the whole row"
            )
        if name in _MADE_WHEN_ASKED and f"_{name}" in self.__struct_fields__:
            kept = getattr(self, f"_{name}")
            return None if kept is None else _MADE_WHEN_ASKED[name](kept)
        return super().__getattr__(name)

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in columns_of(self))
        return f"{type(self).__name__}({', '.join(shown)})"


def columns_of(row: Compact) -> list[str]:
    """The columns that it has."""
    return [name.removeprefix("_") for name in row.__struct_fields__]


_MADE_WHEN_ASKED: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_MANIFOLD, Decimal),
    **{
        column.name: _json.decode
        for table in PUBLISHED.values()
        for column in table.columns
        if column.kind is Kind.JSON
    },
}


def _on_the_wire(table: str, column: Column) -> tuple[str, Any] | tuple[str, Any, Any]:
    if column.name not in _ADDED.get(table, ()):
        return column.name, _WIRE[column.kind]
    absent = msgspec.Raw(_NULL) if column.kind is Kind.JSON else None
    return column.name, _WIRE[column.kind], absent


class Reader(Generic[R]):
    """Rows of one table; `kind` has their columns but those that are left out."""

    def __init__(self, table: str, whole: type[R]) -> None:
        shown = [column for column in PUBLISHED[table].columns if column.name not in LEFT_OUT]
        types = {field.encode_name: field.type for field in msgspec.structs.fields(whole)}
        self.kind = cast(
            type[R],
            msgspec.defstruct(
                whole.__name__,
                [
                    (f"_{column.name}", Any)
                    if column.name in _MADE_WHEN_ASKED
                    else (column.name, types[column.name])
                    for column in shown
                ],
                bases=(Compact,),
                module=whole.__module__,
                frozen=True,
                gc=False,
            ),
        )
        wire = msgspec.defstruct(
            f"{whole.__name__}OnTheWire",
            [_on_the_wire(table, column) for column in shown],
            kw_only=True,
        )
        self._decode = msgspec.json.Decoder(wire).decode
        numbered = list(enumerate(shown))
        self._times = [at for at, column in numbered if column.kind is Kind.TIME]
        self._documents = [at for at, column in numbered if column.kind is Kind.JSON]
        self._repeated = [at for at, column in numbered if column.name in _REPEATED]
        self._numbers = [
            at
            for at, column in numbered
            if column.kind is Kind.NUMERIC and column.name not in _MANIFOLD
        ]

    def read(self, row: bytes | memoryview | msgspec.Raw) -> R:
        """The row.

        Raises:
            NotARow: the JSON is none of this table.
        """
        numbers, times, documents = _numbers, _times, _texts_of_json
        try:
            values = list(msgspec.structs.astuple(self._decode(row)))
            for at in self._numbers:
                if (value := values[at]) is not None:
                    values[at] = numbers[value]
            for at in self._times:
                if (value := values[at]) is not None:
                    values[at] = times[value]
            for at in self._repeated:
                if (value := values[at]) is not None:
                    values[at] = intern(value)
            for at in self._documents:
                text = bytes(values[at])
                values[at] = None if text == _NULL else documents[text]
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
            raise NotARow(str(error)) from error
        return self.kind(*values)


_ALL: Final = TABLES | {"market_lifecycle_events": rows.LifecycleEvent}
READERS: Final[dict[str, Reader[Any]]] = {
    table: Reader(table, kind) for table, kind in _ALL.items()
}
"""Of every table of the change stream."""
