"""Rows of the client are the registry's columns; each test names what would have drifted apart."""

from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
import pytest

from ssmd_api import rows as api_rows
from ssmd_client import NotLoaded, NotTheApi, rows
from ssmd_client.decoding import convert_rows, decode
from ssmd_common import tables
from ssmd_common.columns import Kind, Table

KINDS: dict[Any, Kind] = {
    str: Kind.TEXT,
    int: Kind.INTEGER,
    Decimal: Kind.NUMERIC,
    datetime: Kind.TIME,
    bool: Kind.BOOLEAN,
    list[str]: Kind.TEXTS,
    Any: Kind.JSON,
}


def kind_of(annotation: Any) -> Kind:
    if get_origin(annotation) is list or annotation is Any:
        return KINDS[annotation]
    [kind] = [each for each in get_args(annotation) or (annotation,) if each is not NoneType]
    return KINDS[kind]


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (rows.Series, tables.SERIES),
        (rows.Event, tables.EVENTS),
        (rows.Market, tables.MARKETS),
        (rows.SeriesFee, tables.SERIES_FEES),
        (rows.FeeTier, tables.FEES),
        (rows.LifecycleEvent, tables.LIFECYCLE),
        (rows.EventOfMarket, api_rows.EVENT_OF_MARKET),
        (rows.SeriesOfMarket, api_rows.SERIES_OF_MARKET),
        (rows.LookupMarket, api_rows.LOOKUP),
    ],
)
def test_a_row_has_the_columns_of_the_registry(row: type[msgspec.Struct], table: Table) -> None:
    found = [(field.name, kind_of(field.type)) for field in msgspec.structs.fields(row)]
    assert found == [(column.name, column.kind) for column in table.columns]


def test_what_is_beside_a_row_comes_after_its_columns() -> None:
    for whole, base in ((rows.ListedMarket, rows.Market), (rows.EventDetail, rows.Event)):
        names = [field.name for field in msgspec.structs.fields(whole)]
        assert names[: len(base.__struct_fields__)] == list(base.__struct_fields__)


FEE = (
    b'{"series_ticker":"S","fee_type":"quadratic","fee_multiplier":"0.5000","effective_from":%b,'
    b'"effective_to":null,"source_id":null}'
)


@pytest.mark.parametrize(
    "spelling", [b'"infinity"', b'"-0043-03-15T00:00:00Z"', b'"+15000-12-31T23:40:28Z"', b"null"]
)
def test_a_time_that_python_cannot_hold_is_none(spelling: bytes) -> None:
    fee = decode(FEE % spelling, rows.SeriesFee)
    assert fee.effective_from is None
    assert fee.fee_multiplier == Decimal("0.5000")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"series_ticker":1}', FEE % b'"soon"'])
def test_another_shape_is_told(body: bytes) -> None:
    with pytest.raises(NotTheApi):
        decode(body, rows.SeriesFee)


def test_a_column_that_was_left_out_is_an_error_and_not_none() -> None:
    documents = [{"ticker": "M", "event": {"title": None}, "new": 1}, {"ticker": "N", "event": {}}]
    [market] = convert_rows(documents[:1], rows.ListedMarket)
    assert (market.ticker, market.event.title) == ("M", None)
    assert repr(market) == "ListedMarket(ticker='M', event=EventOfMarket(title=None))"
    for lacks in (lambda: market.title, lambda: market.event.status, lambda: market.nothing):
        with pytest.raises(NotLoaded):
            lacks()
    assert not hasattr(market, "title")
    assert [
        len(row.event.__struct_fields__) for row in convert_rows(documents, rows.ListedMarket)
    ] == [
        1,
        0,
    ]
    with pytest.raises(NotTheApi):
        convert_rows([{"ticker": 5}], rows.ListedMarket)
