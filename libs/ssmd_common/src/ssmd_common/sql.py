"""Named queries: SQL stands in `queries.sql` beside the code that runs it.

A query begins with a line `-- name: what_it_is`; the comment lines below it describe it.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import LiteralString


class Queries:
    """The queries of one package by name, as attributes: `queries.upsert_markets`."""

    def __init__(self, package: str, resource: str = "queries.sql") -> None:
        self._by_name = parse(files(package).joinpath(resource).read_text("utf-8"))

    def __getattr__(self, name: str) -> LiteralString:
        try:
            return self._by_name[name]
        except KeyError:
            raise AttributeError(f"no query is named {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)


def parse(text: str) -> dict[str, LiteralString]:
    """Split a queries file into its statements; a name given twice is an error."""
    # The text is ours, shipped with the package: a literal in another file.
    queries: dict[str, LiteralString] = {}
    for part in text.split("-- name:")[1:]:
        name, _, body = part.partition("\n")
        name = name.strip()
        if not name.isidentifier() or name in queries:
            raise ValueError(f"query name {name!r} is not an identifier or stands twice")
        queries[name] = body.strip()
    return queries
