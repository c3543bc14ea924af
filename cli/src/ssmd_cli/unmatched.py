"""Which of the names that were asked for mean nothing, and what may have been meant."""

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from ssmd_cli.nearest import nearest

if TYPE_CHECKING:
    from ssmd_cli.api import Api

_FEW: Final = 20


class Names(NamedTuple):
    """Every category and every tag that some series has."""

    categories: Collection[str]
    tags: Collection[str]


def names_of(series: Iterable[tuple[str | None, Iterable[str] | None]]) -> Names:
    """Of the category and the tags of each series."""
    categories: dict[str, None] = {}
    tags: dict[str, None] = {}
    for category, tagged in series:
        if category:
            categories[category] = None
        tags.update(dict.fromkeys(tagged or ()))
    return Names(categories, tags)


def sentences(names: Names, categories: Iterable[str], tags: Iterable[str]) -> list[str]:
    """One for each name that no series has, with the nearest that some has."""
    found = [
        _sentence("category", name, names.categories)
        for name in categories
        if name not in names.categories
    ]
    return found + [_sentence("tag", name, names.tags) for name in tags if name not in names.tags]


def unmatched(
    api: "Api", categories: Iterable[str], tags: Iterable[str], series: Iterable[str] = ()
) -> list[str]:
    """The same where the API knows the names, and one for each series that there is not."""
    categories, tags, series = list(categories), list(tags), list(series)
    if not categories and not tags and not series:
        return []
    query = {"entity": "series", "format": "jsonl", "fields": "ticker,category,tags"}
    lines = b"".join(api.stream("export", query)).splitlines()
    rows = [json.loads(line) for line in lines]
    known = names_of((row["category"], row["tags"]) for row in rows)
    tickers = dict.fromkeys(row["ticker"] for row in rows)
    absent = [
        f"no series is called {name!r}{f'; did you mean {near}?' if near else ''}"
        for name in series
        if name not in tickers
        for near in [nearest(name, tickers)]
    ]
    return absent + sentences(known, categories, tags)


def _sentence(kind: str, name: str, known: Collection[str]) -> str:
    if near := nearest(name, known):
        return f"no series has the {kind} {name!r}; did you mean {near!r}?"
    if not known:
        return f"no series has the {kind} {name!r}: none is known yet"
    if len(known) <= _FEW:
        return f"no series has the {kind} {name!r}; there are {', '.join(sorted(known))}"
    return f"no series has the {kind} {name!r}"
