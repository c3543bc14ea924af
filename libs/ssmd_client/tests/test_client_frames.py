"""Rows as tables of Arrow, pandas, Polars and Parquet: kinds and exact values."""

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from client_testbed import Api

from ssmd_client import Client, rows
from ssmd_client.frames import arrow


async def test_arrow(api: Api) -> None:
    table = await api.ask(lambda client: client.markets(sort="ticker").to_arrow())
    assert table.num_rows == 6
    kinds = {field.name: field.type for field in table.schema}
    assert kinds["yes_bid_dollars"] == pa.decimal128(10, 6)
    assert kinds["close_time"] == pa.timestamp("us", tz="UTC")
    assert kinds["status"] == pa.dictionary(pa.int32(), pa.string())
    assert kinds["event.category"] == pa.dictionary(pa.int32(), pa.string())
    assert kinds["series.tags"] == pa.list_(pa.string())
    assert kinds["yes_bid"] == pa.int64()
    row = {row["ticker"]: row for row in table.to_pylist()}["KXBTCD-1-T97500.99"]
    assert row["yes_bid_dollars"] == Decimal("0.45")
    assert row["floor_strike"] == Decimal("97500.99")
    assert row["open_time"] == datetime(2026, 2, 3, 22, 5, 0, 120_000, UTC)
    assert row["custom_strike"] == '{"a":[1.10,null,"x"],"big":12345678901234567890123}'
    assert row["rules_primary"] == "If so."


async def test_pandas(api: Api) -> None:
    frame = await api.ask(lambda client: client.markets(sort="ticker").to_pandas())
    assert str(frame["status"].dtype) == "category"
    assert str(frame["close_time"].dtype) == "datetime64[us, UTC]"
    assert str(frame["yes_bid"].dtype) == "Int64"
    row = frame.set_index("ticker").loc["KXBTCD-1-T97500.99"]
    assert row["yes_bid_dollars"] == Decimal("0.45")
    assert row["yes_bid"] == 45


async def test_polars(api: Api) -> None:
    frame = await api.ask(lambda client: client.markets(sort="ticker").to_polars())
    assert frame.schema["status"] == pl.Categorical
    assert frame.schema["yes_bid_dollars"] == pl.Decimal(10, 6)
    assert frame.schema["close_time"] == pl.Datetime("us", "UTC")
    assert frame.filter(pl.col("yes_bid_dollars") > Decimal("0.4"))["yes_bid"].to_list() == [45]


async def test_parquet(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"

    def write(client: Client) -> pa.Table:
        assert client.events().to_parquet(path) == 3
        return client.events().to_arrow()

    table = await api.ask(write)
    assert pq.read_table(path).equals(table)


def test_a_table_of_no_rows_has_the_same_columns() -> None:
    assert arrow([], rows.Market).column_names == list(rows.Market.__struct_fields__)


@pytest.mark.parametrize(
    "value", ["0.00000000000000001", "1e30", "123456789012345678901234567890.12345678901"]
)
def test_decimals_that_need_more_digits_keep_them(value: str) -> None:
    fee = rows.FeeTier(tier="t", maker_fee=Decimal(value), taker_fee=Decimal("0.07"))
    assert arrow([[fee], [fee]], rows.FeeTier)["maker_fee"].to_pylist() == [Decimal(value)] * 2


def test_without_the_library_it_is_said_how_to_have_it() -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import ssmd_client\n"
        "try: ssmd_client.Client('http://x', 'k').markets().to_pandas()\n"
        "except ssmd_client.Missing as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == "pyarrow is not installed: pip install 'ssmd-client[arrow]'\n"
