"""A column's text to JSON: exact, whatever PostgreSQL can put there."""

import contextlib
import json
import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cdc.encode.values import TypeInfo, converter
from ssmd_cdc.errors import UnreadableValue

BOOL, INT8, INT4, TEXT, JSON, FLOAT8, VARCHAR = 16, 20, 23, 25, 114, 701, 1043
DATE, TIMESTAMP, TIMESTAMPTZ, NUMERIC, JSONB = 1082, 1114, 1184, 1700, 3802
TEXTS, INTS, NUMERICS, TIMES, JSONBS, BOOLS = 1009, 1007, 1231, 1185, 3807, 1000


def read(type_oid: int, text: str) -> Any:
    return msgspec.json.decode(converter(type_oid, {})(text.encode()))


@pytest.mark.parametrize(
    ("type_oid", "text", "expected"),
    [
        (BOOL, "t", True),
        (BOOL, "f", False),
        (INT8, "-9223372036854775808", -(2**63)),
        (NUMERIC, "0.4500", "0.4500"),
        (NUMERIC, "NaN", "NaN"),
        (NUMERIC, "-Infinity", "-Infinity"),
        (FLOAT8, "1e+20", 1e20),
        (FLOAT8, "NaN", "NaN"),
        (FLOAT8, "-Infinity", "-Infinity"),
        (TIMESTAMPTZ, "2026-02-03 22:05:00+00", "2026-02-03T22:05:00Z"),
        (TIMESTAMPTZ, "2026-02-03 22:05:00.123456+00", "2026-02-03T22:05:00.123456Z"),
        (TIMESTAMPTZ, "infinity", "infinity"),
        (TIMESTAMPTZ, "-infinity", "-infinity"),
        (TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", "-0043-03-15T12:00:00Z"),
        (TIMESTAMPTZ, "0001-03-15 12:00:00+00 BC", "0000-03-15T12:00:00Z"),
        (TIMESTAMPTZ, "12026-01-01 00:00:00+00", "+12026-01-01T00:00:00Z"),
        (TIMESTAMP, "2026-02-03 22:05:00.5", "2026-02-03T22:05:00.5"),
        (TIMESTAMP, "0044-03-15 12:00:00 BC", "-0043-03-15T12:00:00"),
        (DATE, "2026-02-03", "2026-02-03"),
        (DATE, "0044-03-15 BC", "-0043-03-15"),
        (DATE, "infinity", "infinity"),
        (DATE, "12026-01-01", "+12026-01-01"),
        (JSONB, '{"a": [1, 2.50, null]}', {"a": [1, 2.5, None]}),
        (JSON, ' {"a" :\n1} ', {"a": 1}),
        (VARCHAR, "", ""),
        (TEXT, "null", "null"),
        (TEXTS, "{}", []),
        (TEXTS, '{a,"b,c","d\\"e\\\\f",NULL,"NULL",""}', ["a", "b,c", 'd"e\\f', None, "NULL", ""]),
        (TEXTS, '{"two\nlines"," {x} "}', ["two\nlines", " {x} "]),
        (INTS, "{{1,2},{3,NULL}}", [[1, 2], [3, None]]),
        (INTS, "[0:1]={7,8}", [7, 8]),
        (NUMERICS, "{0.10,NaN}", ["0.10", "NaN"]),
        (BOOLS, "{t,f,NULL}", [True, False, None]),
        (TIMES, '{"2026-02-03 22:05:00+00",infinity}', ["2026-02-03T22:05:00Z", "infinity"]),
        (JSONBS, '{"{\\"a\\": \\"b c\\"}",1}', [{"a": "b c"}, 1]),
        (17, "\\xdeadbeef", "\\xdeadbeef"),
        (2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (99999, "a type nobody knows", "a type nobody knows"),
    ],
)
def test_values(type_oid: int, text: str, expected: Any) -> None:
    assert read(type_oid, text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_any_text_survives(text: str) -> None:
    assert read(TEXT, text) == text


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_numeric_keeps_its_digits(number: Decimal) -> None:
    text = f"{number:f}" if number.is_finite() else "NaN"
    assert read(NUMERIC, text) == text


@given(st.floats())
def test_any_float(number: float) -> None:
    text = repr(number).replace("inf", "Infinity").replace("nan", "NaN")
    found = read(FLOAT8, text)
    assert found == number if math.isfinite(number) else isinstance(found, str)


texts = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


def array_text(items: list[Any]) -> str:
    """As PostgreSQL's array_out, with every element quoted, which it may do."""

    def element(item: Any) -> str:
        if item is None:
            return "NULL"
        if isinstance(item, list):
            return array_text(item)
        return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "{" + ",".join(map(element, items)) + "}"


@given(st.lists(st.none() | texts) | st.lists(st.lists(st.none() | texts, min_size=2, max_size=2)))
def test_any_array_of_texts(items: list[Any]) -> None:
    assert read(TEXTS, array_text(items)) == items


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists))
def test_any_jsonb_is_itself(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert converter(JSONB, {})(text.encode()) == text.encode()


@pytest.mark.parametrize("type_oid", [TIMESTAMPTZ, TIMESTAMP, DATE, TEXTS])
@given(raw=st.binary(max_size=30))
def test_what_is_not_the_types_text_is_refused_or_json(type_oid: int, raw: bytes) -> None:
    with contextlib.suppress(UnreadableValue, UnicodeDecodeError):
        converter(type_oid, {})(raw)


def test_domains_and_arrays_that_are_not_built_in() -> None:
    catalogue = {
        20001: TypeInfo(20001, 0, 1700, ","),
        20002: TypeInfo(20002, 20001, 0, ","),
        20003: TypeInfo(20003, 603, 0, ";"),
    }
    assert converter(20001, catalogue)(b"1.50") == b'"1.50"'
    assert converter(20002, catalogue)(b"{1.50,NULL}") == b'["1.50",null]'
    assert (
        converter(20003, catalogue)(b"{(1,1),(0,0);(2,2),(1,1)}")
        == b'["(1,1),(0,0)","(2,2),(1,1)"]'
    )
