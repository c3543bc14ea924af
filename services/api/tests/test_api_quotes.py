"""POST /v1/fees/quote, and tiers of a file."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from api_testbed import Client, Reply, Serve
from api_universe import NOW, insert
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ssmd_api.feeschedule import Terms
from ssmd_api.quotes import Order, quote
from ssmd_api.settings import ApiSettings
from ssmd_stack.database import Database

TICKER = "KXBTCD-26FEB03-T97500.99"
ORDER = {"ticker": TICKER, "side": "yes", "price": "0.50", "count": "100"}


async def ask(api: Client, *orders: dict[str, Any], **more: Any) -> Reply:
    return await api.ask("POST", "/v1/fees/quote", json={"quotes": orders, **more})


async def quoted(api: Client, *orders: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    reply = await ask(api, *orders, **more)
    assert reply.status == 200, reply
    found: list[dict[str, Any]] = reply.json["quotes"]
    return found


@pytest.mark.usefixtures("universe")
async def test_an_order_has_its_fee_its_cost_and_where_it_breaks_even(api: Client) -> None:
    taker, maker, none = await quoted(
        api, ORDER, {**ORDER, "side": "no", "role": "maker"}, {**ORDER, "count": "0"}
    )
    # 0.5 × 0.07 × 100 × 0.5 × 0.5
    assert taker["fee_dollars"] == "0.8750"
    assert taker["cost_dollars"] == "50.8750"
    assert taker["break_even_dollars"] == "0.508750"
    assert (taker["by"], taker["error"], taker["at"]) == ("schedule", None, None)
    assert (maker["side"], maker["fee_dollars"]) == ("no", "0.0000")
    assert none["break_even_dollars"] is None


@pytest.mark.usefixtures("universe")
async def test_the_schedule_is_that_of_the_time_and_the_override_goes_before_it(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        for multiplier, begin, end in (("1", -20, -10), ("2", -10, None)):
            await insert(
                connection,
                "series_fees",
                series_ticker="KXBTCD",
                fee_type="quadratic_with_maker_fees",
                fee_multiplier=multiplier,
                effective_from=NOW + timedelta(days=begin),
                effective_to=end and NOW + timedelta(days=end),
            )
    then = (NOW - timedelta(days=15)).isoformat()
    before, early, now = await quoted(
        api, {**ORDER, "at": "1999-01-01"}, {**ORDER, "at": then}, ORDER
    )
    assert before["error"]["kind"] == "no-fee"
    assert (early["fee_multiplier"], early["fee_dollars"]) == ("1.0000", "1.7500")
    assert (now["fee_multiplier"], now["fee_dollars"]) == ("2.0000", "3.5000")
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE events SET fee_multiplier_override = 0 WHERE event_ticker = 'KXBTCD-26FEB03'"
        )
    free, other = await quoted(api, ORDER, {**ORDER, "ticker": "KXBTCD-26FEB02-T90000"})
    assert (free["by"], free["fee_type"]) == ("event", "quadratic_with_maker_fees")
    assert (free["fee_dollars"], free["cost_dollars"]) == ("0.0000", "50.0000")
    assert (other["by"], other["fee_dollars"]) == ("schedule", "3.5000")


@pytest.mark.usefixtures("universe")
async def test_what_has_no_fee_costs_itself_alone(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE events SET fee_type_override = 'cubic' WHERE event_ticker = 'KXBTCD-26FEB02'"
        )
    strange = "KXBTCD-26FEB02-T90000"
    found = await quoted(
        api, *({**ORDER, "ticker": name} for name in ("NONE", strange, "KXOLD-25-A", TICKER))
    )
    kinds = [each["error"] and each["error"]["kind"] for each in found]
    assert kinds == ["not-found", "unknown-fee", "no-fee", None]
    assert found[1]["fee_type"] == "cubic"
    assert found[3]["fee_dollars"] == "0.8750"


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"price": "1.5"}, "quotes[1].price"),
        ({"price": 0.5}, "quotes[1].price"),
        ({"count": "-1"}, "quotes[1].count"),
        ({"at": "tomorrow"}, "quotes[1].at"),
        ({"ticker": ""}, "quotes[1].ticker"),
        ({"side": "maybe"}, "quotes[1].side"),
        ({"role": "both"}, "quotes[1].role"),
        ({"bogus": 1}, "quotes[1].bogus"),
    ],
)
async def test_a_malformed_quote_is_named(api: Client, bad: dict[str, Any], named: str) -> None:
    reply = await ask(api, ORDER, {**ORDER, **bad})
    assert reply.status == 400
    assert [each["parameter"] for each in reply.json["errors"]] == [named]


async def test_all_that_is_wrong_is_named(api: Client) -> None:
    wrong = {**ORDER, "price": "2", "at": "x"}
    reply = await ask(api, wrong, ORDER, {**ORDER, "count": "x"}, tier="")
    named = {each["parameter"] for each in reply.json["errors"]}
    assert named == {"quotes[0].price", "quotes[0].at", "quotes[2].count", "tier"}
    reply = await ask(api, {"ticker": TICKER, "side": "yes"})
    assert reply.json["errors"][0]["parameter"] == "quotes[0].price"
    for body, named in (("", "body"), ("[]", "body"), ("{}", "quotes"), ('{"quotes":1}', "quotes")):
        reply = await api.ask("POST", "/v1/fees/quote", data=body)
        assert reply.json["errors"][0]["parameter"] == named, body
    assert (await ask(api, *[ORDER] * 1001)).json["errors"][0]["parameter"] == "quotes"


@pytest.mark.usefixtures("universe")
async def test_tiers_of_a_file_stand_beside_the_exchanges(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "tiers.json"
    mine = {"tier": "mine", "maker_fee": 0, "taker_fee": "0.035", "source": "agreement of January"}
    path.write_text(json.dumps({"tiers": [mine]}))
    async with serve(api_fee_tiers_file=path) as api:
        tiers = (await api.ok("/v1/fees"))["fees"]
        assert [(each["tier"], each["source"]) for each in tiers] == [
            ("default", "table fees"),
            ("mine", "agreement of January"),
        ]
        reply = await ask(api, ORDER, tier="mine")
        assert reply.json["tier_source"] == "agreement of January"
        assert reply.json["quotes"][0]["fee_dollars"] == "0.4375"
        fill = (await api.ok("/v1/fees/KXBTCD?price=0.5&count=100&tier=mine"))["fee"]
        assert fill["cost"]["taker_dollars"] == "0.4375"
        assert fill["tier_source"] == "agreement of January"
        assert (await ask(api, ORDER, tier="yours")).status == 404


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "trunc"),
        ('{"tiers":[{"tier":"a"}]}', "maker_fee"),
        (
            '{"tiers":[{"tier":"a","maker_fee":2,"taker_fee":0,"source":"x"}]}',
            "from 0 to 1",
        ),
        (
            '{"tiers":[{"tier":"default","maker_fee":0,"taker_fee":0,"source":"x"}]}',
            "is the exchange's",
        ),
    ],
)
def test_a_bad_file_of_tiers_is_named_at_the_start(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "tiers.json"
    path.write_text(text)
    with pytest.raises(ValidationError, match=says):
        ApiSettings(database_url="postgresql://x/x", api_fee_tiers_file=path)


TIER = {"maker_fee": "0.0175", "taker_fee": "0.07"}
DECIMALS = st.decimals(0, 1, places=6, allow_nan=False)


@given(price=DECIMALS, count=st.decimals(1, 10**6, places=2, allow_nan=False))
def test_what_a_contract_is_worth_at_the_break_even_pays_all(
    price: Decimal, count: Decimal
) -> None:
    order = Order(ticker="X", side="yes", price=price, count=count, role="taker", at=None)
    said = quote(order, Terms((), "quadratic", "1"), TIER, NOW)
    cost, even = Decimal(said["cost_dollars"]), Decimal(said["break_even_dollars"])
    assert cost == price * count + Decimal(said["fee_dollars"])
    assert cost <= even * count < cost + count * Decimal("0.000001")
