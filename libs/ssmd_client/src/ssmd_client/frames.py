"""Rows as tables of Arrow, pandas, Polars and Parquet.

Exact decimals are decimals, times are UTC in microseconds, integers stay integers also where some
are missing, words of few kinds (`status`, `category`, …) are categories, lists are lists, and jsonb
is its JSON as text. What stands beside a row has columns of its own: `event.title`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import msgspec

from ssmd_client.errors import Missing

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

WORDS: Final = frozenset(
    (
        "category",
        "event_type",
        "exchange_status",
        "fee_type",
        "fee_type_override",
        "frequency",
        "collateral_return_type",
        "kind",
        "market_type",
        "observed_via",
        "price_level_structure",
        "result",
        "status",
        "strike_period",
        "strike_type",
    )
)
"""Columns of text that are categories."""

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def arrow(pages: Iterable[Sequence[msgspec.Struct]], kind: type[msgspec.Struct]) -> "pa.Table":
    """A table of the rows' columns; of those of `kind` where there is no row."""
    library = _library("pyarrow", "arrow")
    parts = [_part(library, rows) for rows in pages if rows]
    if not parts:
        parts = [_part(library, (), list(_columns(kind)))]
    table = library.concat_tables(parts)
    for at, field in enumerate(table.schema):
        name = field.name.rpartition(".")[2]
        if name in WORDS and library.types.is_string(field.type):
            table = table.set_column(at, field.name, table[at].dictionary_encode())
        elif (field.metadata or {}).get(b"numeric") is not None:
            table = table.set_column(at, field.name, _decimals(library, table[at]))
    return table.combine_chunks()


def pandas(table: "pa.Table") -> "pd.DataFrame":
    """Decimals are `Decimal` objects, integers and booleans pandas' own that may be missing."""
    library = _library("pandas", "pandas")
    arrow_library = _library("pyarrow", "pandas")
    kinds = {
        arrow_library.int64(): library.Int64Dtype(),
        arrow_library.bool_(): library.BooleanDtype(),
    }
    found: pd.DataFrame = table.to_pandas(types_mapper=kinds.get)
    return found


def polars(table: "pa.Table") -> "pl.DataFrame":
    """The same in Polars."""
    found: pl.DataFrame = _library("polars", "polars").from_arrow(table)
    return found


def parquet(table: "pa.Table", path: Path) -> int:
    """Write the file beside its place and put it there whole; the number of rows."""
    writer = _library("pyarrow.parquet", "arrow")
    part = path.with_name(f".{path.name}.part")
    try:
        writer.write_table(table, part, compression="zstd")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return int(table.num_rows)


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Missing(
            f"{name.partition('.')[0]} is not installed: pip install 'ssmd-client[{extra}]'"
        ) from error


def _columns(kind: type[msgspec.Struct], before: tuple[str, ...] = ()) -> Iterator[Any]:
    """(path of attributes, type) of each column, those of structs within too."""
    for field in msgspec.structs.fields(kind):
        path = (*before, field.encode_name)
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _columns(inner, path)
        else:
            yield path, inner


def _part(pa: Any, rows: Sequence[msgspec.Struct], columns: Any = None) -> Any:
    arrays, fields = [], []
    for path, annotation in columns or list(_columns(type(rows[0]))):
        values = [_value(row, path) for row in rows]
        kind, metadata = _kind(pa, path[-1], annotation)
        if annotation is Any:
            values = [None if v is None else _encoder.encode(v).decode() for v in values]
        elif metadata:
            values = [None if v is None else f"{v:f}" for v in values]
        fields.append(pa.field(".".join(path), kind, metadata=metadata))
        arrays.append(pa.array(values, kind))
    return pa.table(arrays, schema=pa.schema(fields))


def _value(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = getattr(row, name)
    return row


def _kind(pa: Any, name: str, annotation: Any) -> tuple[Any, dict[str, str] | None]:
    """Arrow's type. NUMERIC without bounds is text until all of it is there."""
    kinds = [each for each in get_args(annotation) or (annotation,) if each is not NoneType]
    kind = annotation if get_origin(annotation) is list else kinds[0]
    if kind is Decimal:
        if name.endswith("_dollars"):
            return pa.decimal128(10, 6), None
        if name.endswith("_fp"):
            return pa.decimal128(20, 2), None
        return pa.string(), {"numeric": "1"}
    if kind is datetime:
        return pa.timestamp("us", tz="UTC"), None
    if get_origin(kind) is list and get_args(kind) == (str,):
        return pa.list_(pa.string()), None
    return {int: pa.int64(), bool: pa.bool_(), float: pa.float64()}.get(kind, pa.string()), None


def _decimals(pa: Any, texts: Any) -> Any:
    """As decimals of ten digits after the point; of as many as there are where these are more."""
    try:
        return texts.cast(pa.decimal128(38, 10))
    except pa.ArrowInvalid:
        found = [None if text is None else Decimal(text) for text in texts.to_pylist()]
        if any(value is not None and not value.is_finite() for value in found):
            return texts
        return pa.chunked_array([pa.array(found)])
