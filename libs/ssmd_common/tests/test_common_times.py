"""The one spelling of times, and what Python can hold of it."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common.errors import MalformedTime
from ssmd_common.times import moment, spelled, spelled_moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01 00:00:00+00", "2026-01-01T00:00:00Z"),
        ("2026-02-03 22:05:00.12+00", "2026-02-03T22:05:00.12Z"),
        ("0044-03-15 00:00:00+00 BC", "-0043-03-15T00:00:00Z"),
        ("0001-12-31 23:59:59.999999+00 BC", "0000-12-31T23:59:59.999999Z"),
        ("0001-01-01 00:00:00+00", "0001-01-01T00:00:00Z"),
        ("4714-11-24 00:00:00+00 BC", "-4713-11-24T00:00:00Z"),
        ("15000-12-31 23:40:28+00", "+15000-12-31T23:40:28Z"),
        ("294276-12-31 23:59:59.999999+00", "+294276-12-31T23:59:59.999999Z"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
    ],
)
def test_postgresqls_text_is_spelled(text: str, expected: str) -> None:
    assert spelled(text.encode()).decode() == expected
    # What was spelled and what was not are the same time, or none, to who reads them.
    assert moment(text) == moment(expected)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_survives_its_spelling(at: datetime) -> None:
    text = spelled_moment(at)
    assert moment(text) == at
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z", text)
    assert spelled(text.replace("T", " ").replace("Z", "+00").encode()) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        *("infinity", "-infinity", "0000-01-01T00:00:00Z", "0044-03-15 00:00:00+00 BC"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
    ],
)
def test_what_python_cannot_hold_is_no_time(text: str) -> None:
    assert moment(text) is None


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01T00:00:00", "03/15/0044", "12:00:00Z"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(MalformedTime):
        moment(text)


@given(st.binary(max_size=40))
def test_anything_else_is_refused_by_one_error(raw: bytes) -> None:
    try:
        spelled(raw)
    except MalformedTime:
        return
    assert len(raw) >= 8
