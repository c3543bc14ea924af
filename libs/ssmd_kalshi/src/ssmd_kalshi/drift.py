"""What the exchange says that this version of the client does not know or cannot read, counted.

A new field or a new word of an enumeration is no fault: the row is kept with it. It is a reason to
look, so it is counted in the metrics and, with one example each, for `ssmd exchange drift`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from ssmd_kalshi import metrics
from ssmd_kalshi.errors import excerpt
from ssmd_kalshi.unread import Unread, json_text
from ssmd_kalshi.wire import UNKNOWN_FIELD, WireRow

MAX_DISTINCT = 200
"""Distinct foreign names kept per process; the rest is counted as "(other)"."""

OTHER = "(other)"

FEE_TYPES = frozenset(
    [
        "quadratic",
        "quadratic_with_maker_fees",
        "quadratic_with_combo_maker_fees",
        "flat",
        "fee_free",
    ]
)

KNOWN_WORDS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "market": {
        "status": frozenset(
            [
                "initialized",
                "inactive",
                "active",
                "closed",
                "determined",
                "disputed",
                "amended",
                "finalized",
            ]
        ),
        "result": frozenset({"", "yes", "no", "scalar"}),
        "market_type": frozenset({"binary", "scalar"}),
        "strike_type": frozenset(
            [
                "greater",
                "greater_or_equal",
                "less",
                "less_or_equal",
                "between",
                "functional",
                "custom",
                "structured",
            ]
        ),
        "price_level_structure": frozenset(
            [
                "linear_cent",
                "deci_cent",
                "tapered_deci_cent",
                "center_whole_edge_half_cent",
                "center_whole_edge_quint_cent",
                "center_half_edge_half_cent",
                "center_half_edge_quint_cent",
                "center_half_edge_deci_cent",
                "center_quint_edge_quint_cent",
                "center_quint_edge_deci_cent",
                "center_centi_edge_centi_cent",
                "center_deci_edge_centi_cent",
            ]
        ),
        "settlement_bounds_type": frozenset({"default", "floor"}),
    },
    "series": {"fee_type": FEE_TYPES},
    "event": {
        "collateral_return_type": frozenset({"", "MECNET", "DIRECNET", "binary"}),
        "fee_type_override": FEE_TYPES,
    },
    "collection": {},
    "trade": {
        "taker_side": frozenset({"yes", "no"}),
        "taker_outcome_side": frozenset({"yes", "no"}),
        "taker_book_side": frozenset({"bid", "ask"}),
    },
    "series_fee_change": {"fee_type": FEE_TYPES},
    "event_fee_change": {"fee_type_override": FEE_TYPES},
}
"""Words of specification 3.34, plus those seen in recordings."""

_WORDS = {
    entity: [(attrgetter(name), name, known | {None}) for name, known in words.items()]
    for entity, words in KNOWN_WORDS.items()
}


@dataclass(slots=True)
class Drift:
    """Counts of one client; cheap enough to be always on."""

    rows: Counter[str] = field(default_factory=Counter)
    unknown_fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown_words: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected_rows: Counter[str] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def count_rows(self, entity: str, count: int) -> None:
        self.rows[entity] += count

    def count_unknown_field(self, entity: str, name: str, count: int, example: object) -> None:
        key = self._bounded(self.unknown_fields, (entity, excerpt(name, 64)))
        self.unknown_fields[key] += count
        self.examples.setdefault(key, excerpt(json_text(example), 80))
        metrics.UNKNOWN_FIELDS.labels(*key).inc(count)

    def check_words(self, entity: str, rows: Sequence[object]) -> None:
        """Count the words of enumerations in these rows that are not known."""
        for read, name, known in _WORDS[entity]:
            for word in set(map(read, rows)) - known:
                key = self._bounded(self.unknown_words, (f"{entity}.{name}", excerpt(word, 64)))
                times = list(map(read, rows)).count(word)
                self.unknown_words[key] += times
                metrics.UNKNOWN_WORDS.labels(*key).inc(times)

    def count_rejected_row(self, entity: str) -> None:
        self.rejected_rows[entity] += 1
        metrics.REJECTED_ROWS.labels(entity).inc()

    @property
    def found(self) -> bool:
        """Whether anything at all was new or unreadable."""
        return bool(self.unknown_fields or self.unknown_words or self.rejected_rows)

    def document(self, most: int) -> list[dict[str, object]]:
        """What was new or unreadable, up to `most`, the most frequent first: `kind`, `entity`,
        `name`, `count`, and an `example` where there is one."""
        found: list[dict[str, object]] = []

        def add(kind: str, entity: str, name: str | None, count: int, example: str | None) -> None:
            said = {"kind": kind, "entity": entity, "name": name}
            found.append({**said, "count": count, "example": example})

        for (entity, name), count in self.unknown_fields.items():
            add("unknown field", entity, name, count, self.examples.get((entity, name)))
        for (path, word), count in self.unknown_words.items():
            entity, _, name = path.partition(".")
            add("unknown word", entity, name, count, word)
        for entity, count in self.rejected_rows.items():
            add("rejected row", entity, None, count, None)
        return sorted(found, key=lambda one: -int(str(one["count"])))[:most]

    @staticmethod
    def _bounded(counts: Counter[tuple[str, str]], key: tuple[str, str]) -> tuple[str, str]:
        return key if key in counts or len(counts) < MAX_DISTINCT else (key[0], OTHER)


def count_rejected(entity: str, fields: Iterable[Unread], row: type[WireRow]) -> None:
    """Fields of a row that could not be read; foreign names under one label."""
    for one in fields:
        name = one.name if one.name in row.__struct_fields__ else UNKNOWN_FIELD
        metrics.REJECTED_FIELDS.labels(entity, name).inc()
