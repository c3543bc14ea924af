"""Subjects: injective whatever a ticker holds, such as NATS takes, and plain for real tickers."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from ssmd_common import models
from ssmd_stream.subjects import (
    LONGEST_TOKEN,
    NONE,
    TOKEN_COLUMNS,
    subject,
    token,
    unreadable_subject,
)

# Few characters, so that what looks alike comes up; and any at all, also of four bytes.
values = st.one_of(
    st.text(alphabet="_%.~5F*> A\U0001f600é", max_size=12),
    st.text(),
    st.text(alphabet="é\U0001f600.", min_size=60, max_size=200),
    st.builds(lambda end: "é" * 90 + end, st.text(max_size=3)),
)
_TOKEN = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})*(?:~[0-9a-f]{64})?")


@given(values, values)
@example("_", "")
@example("_", "%5F")
@example("a~b", "a%7Eb")
@example("é" * 100 + "a", "é" * 100 + "b")
@example("." * 171, "." * 172)
def test_different_values_have_different_tokens(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@given(values)
@example("é" * 128)
@example("\U0001f600" * 128)
@example("A" + "é" * 128)
@example("\ud800")
def test_a_token_is_one_that_nats_takes(value: str) -> None:
    made = token(value)
    assert _TOKEN.fullmatch(made), made
    assert len(made) <= LONGEST_TOKEN


@given(st.text(alphabet="ABCXYZabc0189-_", min_size=2, max_size=128))
def test_what_needs_no_encoding_stays_as_it_is(value: str) -> None:
    assert token(value) == value


def test_null_and_empty_are_one_and_no_value_is_theirs() -> None:
    assert token(None) == token("") == NONE
    assert token(NONE) == "%5F"


def test_a_subject_carries_columns_of_its_table() -> None:
    rows: dict[str, type[models.Row]] = {
        "series": models.Series,
        "events": models.Event,
        "markets": models.Market,
        "series_fees": models.SeriesFee,
        "fees": models.FeeTier,
        "market_lifecycle_events": models.LifecycleRow,
    }
    for table, tokens in TOKEN_COLUMNS.items():
        columns = {column for choices in tokens for column in choices.split("|")}
        assert columns <= set(rows[table].columns()), table


tables = st.sampled_from(sorted(TOKEN_COLUMNS))
ops = st.sampled_from(["insert", "update", "delete"])


@given(st.data(), tables, ops)
def test_different_rows_have_different_subjects(data: st.DataObject, table: str, op: str) -> None:
    columns = [choice.split("|")[0] for choice in TOKEN_COLUMNS[table]]
    full = values.filter(bool)
    one, other = (data.draw(st.fixed_dictionaries(dict.fromkeys(columns, full))) for _ in "ab")
    assert (subject(table, op, one) == subject(table, op, other)) == (one == other)
    assert subject(table, op, one) != unreadable_subject(table, op)
    # With room for the reply's subject and the sizes in a control line of 4 KiB.
    assert len(subject(table, op, one)) < 2048


def test_what_cannot_be_read_has_as_many_tokens_as_what_can() -> None:
    assert unreadable_subject("markets", "update") == "cdc.markets.update._._._"
    assert unreadable_subject("series", "insert") == "cdc.series.insert._"
    assert unreadable_subject("odd.name", "insert") == "cdc.odd%2Ename.insert._"
