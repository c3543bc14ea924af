"""One thing wrong with one field: what a field of the exchange can say that nobody can read.

Shared by the tests that corrupt one thing at a time. The fields are those of the specification, as
the wire rows declare them; a fault is a JSON text, or nearly one, as it stands in a reply.
"""

import random
from dataclasses import dataclass
from typing import Any

import msgspec

from ssmd_common import tables
from ssmd_common.columns import Kind
from ssmd_kalshi import convert, markets, wire
from ssmd_kalshi.wire import WireEvent, WireMarket, WireRow, WireSeries

ROWS: dict[str, type[WireRow]] = {"market": WireMarket, "event": WireEvent, "series": WireSeries}
IDENTITY = {"market": "ticker", "event": "event_ticker", "series": "ticker"}
COLUMNS = {
    "market": markets.COLUMNS,
    "event": convert.EVENT_COLUMNS,
    "series": convert.SERIES_COLUMNS,
}

STAND_INS = {"market": markets.STAND_INS, "event": {}, "series": convert.SERIES_STAND_INS}

DEEP = '{"a":' * 2000 + "1" + "}" * 2000
JUST_TOO_DEEP = "[" * 33 + "]" * 33
ENDLESS = "[" * 100_000 + "]" * 100_000
LONG = f'{{"a":"{"x" * 17_000}"}}'
# Latin-1: the last one is no UTF-8.
NO_TEXT = [r'"a\u0000b"', r'"\ud83d"', '"\x00"', '"a\xff"']
NO_NUMBER = ["NaN", "-Infinity", "1e400", "1e30", "7" * 5000]

TEXT = ["7", "1.5", "true", "[]", "{}", '["a"]', DEEP, ENDLESS, *NO_TEXT, *NO_NUMBER]
NUMBER = ["false", "[]", "{}", DEEP, *NO_TEXT, *NO_NUMBER]
FAULTS: dict[str, list[str]] = {
    "text": TEXT,
    "time": [
        *TEXT,
        '" "',
        '"soon"',
        '"2026-01-01"',
        '"2026-01-01T24:00:00Z"',
        '"2026-06-30T23:59:60Z"',
        '"2026-01-01T00:00:00z"',
        '"2026-01-01 00:00:00Z"',
        '"2026-02-30T00:00:00Z"',
        '"15000-01-01T00:00:00Z"',
        '"-0044-03-15T00:00:00Z"',
        '"9999-12-31T23:59:59-00:01"',
        '"infinity"',
    ],
    "status": [*TEXT, '" "'],
    "number": [*NUMBER, '" "', '"half"', '"NaN"', '"Infinity"', '"1_0"', '" 1"', '"1e31"'],
    "verbatim number": NUMBER,
    "flag": ['"true"', "0", "1", '""', "[]", "{}", '"a"', DEEP],
    "object": [
        '"x"',
        "7",
        "true",
        "[1]",
        DEEP,
        JUST_TOO_DEEP,
        LONG,
        r'{"a":"\u0000"}',
        '{"a":NaN}',
    ],
    "objects": ['"x"', "7", "{}", "[7]", "[null]", f"[{DEEP}]", f"[{LONG}]", r'[{"\ud800":1}]'],
    "texts": ['"x"', "7", "{}", "[7]", '["a",null]', r'["a\u0000"]', f"[{DEEP}]"],
    "parent": ["7", "[]", '"A B"', r'"A\u0000"', f'"{"X" * 129}"', DEEP],
    "unknown": [DEEP, ENDLESS, JUST_TOO_DEEP, LONG, *NO_TEXT, *NO_NUMBER, '{"a":{"b":1e400}}'],
}
NO_IDENTITY = ["null", '""', '"A\\u0007"', *FAULTS["parent"]]

_KINDS: list[tuple[Any, str]] = [
    (wire.Text, "text"),
    (wire.Number, "number"),
    (wire.Flag, "flag"),
    (wire.Object, "object"),
    (wire.Objects, "objects"),
    (wire.Texts, "texts"),
]
_TABLES = {"market": tables.MARKETS, "event": tables.EVENTS, "series": tables.SERIES}
_PARENTS = {"market": "event_ticker", "event": "series_ticker", "series": ""}
UNKNOWN = "brand_new_field"


def fields(entity: str) -> dict[str, str]:
    """Every field of a row but its identity, with its kind in `FAULTS`."""
    found, identity = {UNKNOWN: "unknown"}, IDENTITY[entity]
    for field in msgspec.structs.fields(ROWS[entity]):
        name = field.name
        kind = next((kind for declared, kind in _KINDS if field.type == declared), None)
        if kind is None:
            # The row's own ticker, an event's markets, and what is no field of the exchange.
            continue
        if name == _PARENTS[entity]:
            kind = "parent"
        elif _TABLES[entity][COLUMNS[entity].get(name, (identity,))[0]].kind is Kind.TIME:
            kind = "time"
        elif kind == "number" and (name in STAND_INS[entity] or name not in COLUMNS[entity]):
            kind = "verbatim number"
        elif (entity, name) == ("market", "status"):
            kind = "status"
        found[name] = kind
    return found


@dataclass(frozen=True)
class Corruption:
    """`text` stands in the reply as the value of `field`, which cannot be read."""

    entity: str
    ticker: str
    field: str
    text: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that get no value. Where a field only stands in for another, that one is there."""
        if self.field in STAND_INS[self.entity]:
            return ()
        return COLUMNS[self.entity].get(self.field, ())

    def fault(self, *, left_out: bool = False) -> dict[str, Any]:
        """The simulator's fault; `left_out` for the same without the field."""
        named = {"entity": self.entity, "ticker": self.ticker, "field": self.field}
        return {"kind": "unreadable", **named, "json": None if left_out else self.text}

    def __repr__(self) -> str:
        text = self.text if len(self.text) < 80 else f"{self.text[:40]}… ({len(self.text)})"
        return f"{self.entity} {self.ticker}: {self.field} = {text}"


def every(entity: str, ticker: str) -> list[Corruption]:
    """Each fault of each field of a row."""
    return [
        Corruption(entity, ticker, field, text)
        for field, kind in fields(entity).items()
        for text in FAULTS[kind]
    ]


def random_one(chance: random.Random, entity: str, ticker: str) -> Corruption:
    field, kind = chance.choice(sorted(fields(entity).items()))
    return Corruption(entity, ticker, field, chance.choice(FAULTS[kind]))
