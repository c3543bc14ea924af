"""Lists of the API as iterators over their pages."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import msgspec

from ssmd_client.decoding import convert_rows, decode
from ssmd_client.transport import Query, Transport

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

T = TypeVar("T", bound=msgspec.Struct)

PAGE: Final = 1000
"""Rows that the API gives at once at most."""


class Rows(Generic[T]):
    """A list; asks nothing before it is iterated, and again each time that it is.

    What is there from the first page to the last comes once, whatever comes and goes meanwhile.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        name: str,
        kind: type[T],
        query: Query,
        *,
        limit: int | None = None,
        is_sparse: bool = False,
    ) -> None:
        """`name` is that of the list in the document; `limit` bounds the rows of all pages. Rows
        may lack columns where `is_sparse`, and where the query says so."""
        if limit is not None and limit < 0:
            raise ValueError(f"limit: {limit} is negative")
        self.kind = kind
        self._transport = transport
        self._path = path
        self._name = name
        self._query = query
        self._limit = limit
        asked = (query.get("fields"), query.get("exclude"))
        self._is_sparse = is_sparse or asked != (None, None)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[T]]:
        """The rows as they come, a page at a time; errors are those of `Transport.get`."""
        return self._pages(self._limit)

    def _pages(self, limit: int | None) -> Iterator[list[T]]:
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            limit = PAGE if left is None else min(PAGE, left)
            query = {**self._query, "limit": limit, "cursor": cursor}
            found, cursor = self._page(self._transport.get(self._path, query).body)
            if left is not None:
                left -= len(found)
            if found:
                yield found
            if cursor is None:
                return

    def all(self) -> list[T]:
        """Every row."""
        return list(self)

    def first(self) -> T | None:
        """The first row; None where there is none."""
        return next((row for page in self._pages(1) for row in page), None)

    def count(self, *, estimated: bool = False) -> int:
        """How many rows the whole list has, whatever `limit` says; `estimated` is PostgreSQL's
        guess, which costs nothing.

        Raises:
            BadParameter: to count them exactly takes too long.
        """
        how = "estimated" if estimated else "exact"
        query = {**self._query, "limit": 1, "count": how}
        return decode(self._transport.get(self._path, query).body, _Count).count

    def to_arrow(self) -> "pa.Table":
        """A table of Arrow, as `ssmd_client.frames` says; needs `ssmd-client[arrow]`."""
        from ssmd_client import frames

        return frames.arrow(self.pages(), self.kind)

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a DataFrame; needs `ssmd-client[pandas]`."""
        from ssmd_client import frames

        return frames.pandas(self.to_arrow())

    def to_polars(self) -> "pl.DataFrame":
        """The same as a DataFrame of Polars; needs `ssmd-client[polars]`."""
        from ssmd_client import frames

        return frames.polars(self.to_arrow())

    def to_parquet(self, path: str | Path) -> int:
        """Write the same as a Parquet file, and say how many rows; needs `ssmd-client[arrow]`."""
        from ssmd_client import frames

        return frames.parquet(self.to_arrow(), Path(path))

    def _page(self, body: bytes) -> tuple[list[T], str | None]:
        if self._is_sparse:
            loose = decode(body, _page_of(self._name, dict))
            return convert_rows(getattr(loose, self._name), self.kind), loose.cursor
        page = decode(body, _page_of(self._name, self.kind))
        return cast(list[T], getattr(page, self._name)), page.cursor


class _Count(msgspec.Struct, frozen=True):
    count: int


@cache
def _page_of(name: str, kind: type[Any]) -> Any:
    fields: list[Any] = [(name, list[kind]), ("cursor", str | None, None)]  # type: ignore[valid-type]
    return msgspec.defstruct("Page", fields, frozen=True, gc=False)
