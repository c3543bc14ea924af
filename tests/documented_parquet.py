"""The columns of compacted days as a page of the docs."""

from pathlib import Path
from typing import Final

from ssmd_archive.layout import MARKET_DATA, SECMASTER_CDC, books
from ssmd_archive.parquet.schemas import OTHERS, Origin, Table, tables

PAGE: Final = Path(__file__).parents[1] / "docs/parquet.md"
_HEAD: Final = "This part is made from the code by `make docs`.\n"


def parquet_page() -> str:
    """What is written by hand, and each table."""
    by_hand = PAGE.read_text().partition(_HEAD)[0] + _HEAD
    found = [
        *((MARKET_DATA.stream, table) for table in tables(MARKET_DATA).values()),
        *(("MARKET_BOOKS_<shard>", table) for table in tables(books(0)).values()),
        *((SECMASTER_CDC.stream, table) for table in tables(SECMASTER_CDC).values()),
        ("all", OTHERS),
    ]
    return by_hand + "".join(_table(stream, table) for stream, table in found)


def _table(stream: str, table: Table) -> str:
    rows = "".join(
        f"| `{column.name}` | {_type(column.type)} | {'' if column.required else 'yes'} "
        f"| {column.what} |\n"
        for column in table.columns
        if column.origin is not Origin.ROW
    )
    own = [column for column in table.columns if column.origin is Origin.ROW]
    of_row = ", ".join(f"`{column.name}` {_type(column.type)}" for column in own)
    more = f"\nOf the row, null where there is none: {of_row}.\n" if own else ""
    return (
        f"\n### `{table.name}` ({stream})\n\n| column | type | null | |\n|---|---|---|---|\n"
        f"{rows}{more}"
    )


def _type(kind: object) -> str:
    words = {
        "string": "text",
        "int64": "integer",
        "bool": "boolean",
        "binary": "bytes",
        "timestamp[us, tz=UTC]": "time",
        "decimal128(18, 6)": "decimal(18, 6)",
        "decimal128(18, 4)": "decimal(18, 4)",
        "decimal128(38, 10)": "decimal(38, 10)",
        "list<item: string>": "list of texts",
    }
    return words.get(str(kind), "list of `price`, `count`")
