"""The patterns that the OpenAPI document shows are what readers take."""

from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_api import filters, forms, parameters

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)


@given(st.from_regex(forms.MOMENT, fullmatch=True))
def test_what_looks_like_a_moment_is_one(text: str) -> None:
    jsonschema.validate(text, filters.MOMENT)
    try:
        assert parameters.moment(text, NOW).utcoffset() == timedelta(0)
    except ValueError:
        # Its zone leads beyond the calendar.
        assert text.startswith("9999-12-31")


@given(st.datetimes(min_value=NOW.replace(year=1000, tzinfo=None)), st.sampled_from(["T", " "]))
def test_a_time_as_programs_write_it_is_one(time: datetime, between: str) -> None:
    for text in (time.isoformat(between), time.isoformat(between, "minutes"), str(time.date())):
        assert parameters.moment(text, NOW) == datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-02-29",
        "2100-02-29",
        "2026-04-31",
        "2026-13-01",
        "0000-01-01",
        "2026-02-03T24:00",
        "2026-02-03T22:60",
        "2026-02-03T22:05:60Z",
        "2026-02-03T22:05z",
        "2026-02-03T22:05+24:00",
        "2026-W06-2",
        "20260203",
        "100000w",
        "1000000d",
        "-1d",
        "1y",
        "٣d",
        "2026-02-03\n",
    ],
)
def test_what_does_not_look_like_a_moment_is_none(text: str) -> None:
    assert not jsonschema.Draft202012Validator(filters.MOMENT).is_valid(text) or text[-1:] == "\n"
    with pytest.raises(ValueError, match="must be a time"):
        parameters.moment(text, NOW)


def test_a_leap_day_is_a_day() -> None:
    for year in range(1000, 10_000):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        assert (forms.MOMENT.fullmatch(f"{year}-02-29") is not None) == leap


@given(st.text())
def test_words_are_two_characters_that_are_no_spaces(text: str) -> None:
    controls = not forms.TEXT.fullmatch(text)
    expected = not controls and len("".join(text.split())) >= 2
    assert (forms.WORDS.fullmatch(text) is not None) == expected
