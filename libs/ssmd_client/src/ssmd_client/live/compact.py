"""Rows from JSON with little memory: equal values are one object, and what is long is left out."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from ssmd_client import rows
from ssmd_client.decoding import Partial
from ssmd_client.frames import WORDS
from ssmd_common.columns import Kind
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
_documents: Final[Memo[Any]] = Memo(_json.decode)
_words: Final[Memo[str]] = Memo(str)


class NotARow(ValueError):
    """The JSON is not a row of its table."""


class Reader(Generic[R]):
    """Rows of one table; `kind` has their columns but those that are left out."""

    def __init__(self, table: str, whole: type[R]) -> None:
        shown = [column for column in PUBLISHED[table].columns if column.name not in LEFT_OUT]
        types = {field.encode_name: field.type for field in msgspec.structs.fields(whole)}
        self.kind = cast(
            type[R],
            msgspec.defstruct(
                whole.__name__,
                [(column.name, types[column.name]) for column in shown],
                bases=(_Left,),
                module=whole.__module__,
                frozen=True,
                gc=False,
            ),
        )
        wire = msgspec.defstruct(
            f"{whole.__name__}OnTheWire", [(column.name, _WIRE[column.kind]) for column in shown]
        )
        self._decoder = msgspec.json.Decoder(wire)
        self._made: list[tuple[int, Callable[[Any], Any]]] = []
        for at, column in enumerate(shown):
            match column.kind:
                case Kind.NUMERIC:
                    self._made.append((at, _numbers.__getitem__))
                case Kind.TIME:
                    self._made.append((at, _times.__getitem__))
                case Kind.JSON:
                    self._made.append((at, _document))
                case Kind.TEXT if column.name in WORDS:
                    self._made.append((at, _words.__getitem__))
                case _:
                    pass

    def read(self, row: bytes | memoryview | msgspec.Raw) -> R:
        """The row.

        Raises:
            NotARow: the JSON is none of this table.
        """
        try:
            values = list(msgspec.structs.astuple(self._decoder.decode(row)))
            for at, made in self._made:
                value = values[at]
                if value is not None:
                    values[at] = made(value)
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
            raise NotARow(str(error)) from error
        return self.kind(*values)


class _Left(Partial, frozen=True, gc=False):
    """A row of a live view."""

    def __getattr__(self, name: str) -> Any:
        if name in LEFT_OUT:
            from ssmd_client.errors import NotLoaded

            raise NotLoaded(
                f"a live view does not hold {name!r}: `await secmaster.load(…)` reads the whole row"
            )
        return super().__getattr__(name)


def _document(raw: msgspec.Raw) -> Any:
    return _documents[bytes(raw)]


_ALL: Final = TABLES | {"market_lifecycle_events": rows.LifecycleEvent}
READERS: Final[dict[str, Reader[Any]]] = {
    table: Reader(table, kind) for table, kind in _ALL.items()
}
"""Of every table of the change stream."""
