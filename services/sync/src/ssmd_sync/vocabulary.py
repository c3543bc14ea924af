"""Why a scope selects less than was meant, in the exchange's own words. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from ssmd_kalshi.wire import SportFilters
from ssmd_sync.scope import SPORTS, Scope, SeriesFacts

GAMES = "Games"


def idle_words(scope: Scope, series: Iterable[SeriesFacts]) -> list[tuple[str, str]]:
    """The tags and categories of a scope that no series has: kind and word."""
    tags: set[str] = set()
    categories: set[str | None] = set()
    for each in series:
        tags.update(each.tags or ())
        categories.add(each.category)
    return [
        *(("tag", tag) for tag in scope.tags if tag not in tags),
        *(("category", name) for name in scope.categories if name not in categories),
    ]


def explained(
    idle: Iterable[tuple[str, str]],
    tags_by_category: Mapping[str, Sequence[str]],
    sports: Mapping[str, SportFilters],
) -> list[str]:
    """A sentence for each idle word: the exchange knows it, or what it has instead."""
    tags = {tag for names in tags_by_category.values() for tag in names} | sports.keys()
    known = {"tag": tags, "category": set(tags_by_category)}
    sentences = []
    for kind, word in idle:
        if word in known[kind]:
            sentences.append(f"no series has the {kind} {word} at present")
            continue
        by_lower = {name.lower(): name for name in sorted(known[kind])}
        close = get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
        meant = ", ".join(by_lower[match] for match in close) or "nothing like it"
        sentences.append(f"the exchange has no {kind} {word}; it has {meant}")
    return sentences


def without_games(scope: Scope, sports: Mapping[str, SportFilters]) -> list[str]:
    """A sentence for each sport of a scope for single games that has none."""
    if not scope.games_only or (scope.categories and SPORTS not in scope.categories):
        return []
    return [
        f"{sport} has no single games; the exchange lists its {', '.join(filters.scopes)}"
        for sport, filters in sports.items()
        if sport in scope.tags and filters.scopes and GAMES not in filters.scopes
    ]
