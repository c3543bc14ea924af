"""Our replies have the shape of the recorded ones, field by field; what differs is listed here."""

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.replay import NoRecordings
from ssmd_simulator.server import Simulator

# Recorded in January 2026, gone since: whole cents and whole contracts left in March 2026.
GONE = {
    "last_price", "liquidity", "liquidity_dollars", "no_ask", "no_bid", "notional_value",
    "open_interest", "previous_price", "previous_yes_ask", "previous_yes_bid",
    "response_price_units", "tick_size", "volume", "volume_24h", "yes_ask", "yes_bid",
    # The event's brokerage flag is in no specification since.
    "available_on_brokers",
}  # fmt: skip
# Came with the fixed-point changeover and later versions of the specification.
NEW = {
    "volume_fp", "volume_24h_fp", "open_interest_fp", "yes_bid_size_fp", "yes_ask_size_fp",
    "updated_time", "exchange_index", "settlement_bounds_type", "last_updated_ts", "categories",
    "settlement_sources",
}  # fmt: skip
# Present or absent from one market or event to the next, in the recordings as in ours.
OPTIONAL = {
    "early_close_condition", "expected_expiration_time", "floor_strike", "cap_strike",
    "custom_strike", "strike_type", "mve_collection_ticker", "mve_selected_legs", "strike_date",
    "strike_period", "occurrence_datetime", "fee_waiver_expiration_time", "is_provisional",
    "primary_participant_key", "fee_type_override", "fee_multiplier_override", "settlement_ts",
    "settlement_value_dollars",
}  # fmt: skip
STATUS_NEW = {"intra_exchange_transfers_active", "exchange_index_statuses"}


def _kind(value: Any) -> str:
    if isinstance(value, str):
        for name, pattern in (
            ("time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
            ("dollars", r"\d+\.\d{4}"),
        ):
            if re.fullmatch(pattern, value):
                return name
        return "text"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(
        value).__name__  # fmt: skip


def _kinds(items: list[dict[str, Any]]) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for item in items:
        for field, value in item.items():
            kinds.setdefault(field, set()).add(_kind(value))
    return kinds


def _compare(recorded: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
    theirs_by_field, ours_by_field = _kinds(recorded), _kinds(ours)
    missing = set(theirs_by_field) - set(ours_by_field) - GONE
    extra = set(ours_by_field) - set(theirs_by_field) - NEW - OPTIONAL
    assert not missing, f"recorded but not ours: {missing}"
    assert not extra, f"ours but not recorded: {extra}"
    for field in set(theirs_by_field) & set(ours_by_field):
        assert theirs_by_field[field] <= ours_by_field[field] | {"text"}, field
    for field, kinds in theirs_by_field.items():
        always = all(field in item for item in recorded)
        if always and field not in GONE | OPTIONAL and field in ours_by_field:
            assert all(field in item for item in ours), f"{field} is not always there"
        assert "NoneType" not in kinds or "NoneType" in ours_by_field.get(field, kinds)


def _recorded(data: Path, name: str) -> Any:
    return json.loads((data / "recordings" / f"{name}_response.json").read_text())["response"]


@pytest.mark.parametrize(
    ("name", "path", "query", "key"),
    [
        ("series_list", "/series", {}, "series"),
        ("events_list", "/events", {}, "events"),
        ("events_multivariate_list", "/events/multivariate", {}, "events"),
        ("markets_list", "/markets", {"mve_filter": "only"}, "markets"),
    ],
)
async def test_listings_have_the_recorded_shape(
    client: Client, kalshi_data: Path, name: str, path: str, query: dict[str, Any], key: str
) -> None:
    recorded, ours = _recorded(kalshi_data, name), await client.get(path, **query)
    assert set(recorded) <= set(ours)
    _compare(recorded[key], ours[key])


async def test_an_event_with_its_markets_has_the_recorded_shape(
    client: Client, kalshi_data: Path
) -> None:
    recorded = _recorded(kalshi_data, "event_single")
    events, markets = [], []
    for event in client.sim.universe.event_order[::30]:
        body = await client.get(f"/events/{event.ticker}")
        assert set(body) == set(recorded)
        events.append(body["event"])
        markets.extend(body["markets"])
    _compare([recorded["event"]], events)
    _compare(recorded["markets"], markets)


async def test_other_replies_have_the_recorded_shape(client: Client, kalshi_data: Path) -> None:
    status = await client.get("/exchange/status")
    assert set(status) - STATUS_NEW == set(_recorded(kalshi_data, "exchange_status"))
    schedule = _recorded(kalshi_data, "exchange_schedule")
    assert await client.get("/exchange/schedule") == schedule
    sports, theirs = (
        await client.get("/search/filters_by_sport"),
        _recorded(kalshi_data, "filters_by_sport"),
    )
    assert set(sports) == set(theirs)
    for ours_by_sport in sports["filters_by_sports"].values():
        assert set(ours_by_sport) == {"scopes", "competitions"}
    tags = (await client.get("/search/tags_by_categories"))["tags_by_categories"]
    recorded = _recorded(kalshi_data, "tags_by_categories")["tags_by_categories"]
    assert {_kind(value) for value in tags.values()} == {_kind(v) for v in recorded.values()}
    changes = await client.get("/series/fee_changes")
    assert set(changes) == set(_recorded(kalshi_data, "series_fee_changes"))


async def test_our_cursors_look_like_the_recorded_ones(client: Client, kalshi_data: Path) -> None:
    theirs, ours = _recorded(kalshi_data, "markets_list"), await client.get("/markets", limit=5)
    assert ours["cursor"][:2] == theirs["cursor"][:2]
    # The exchange's own cursor is one that we understand: newest first, by creation and ticker.
    page = await client.get("/markets", cursor=theirs["cursor"])
    assert set(page) == {"markets", "cursor"}


async def test_replay_serves_recordings_as_they_are(
    http: aiohttp.ClientSession, kalshi_data: Path
) -> None:
    async with Simulator(replay=kalshi_data / "recordings") as sim:
        client = Client(sim, http)
        for name, path in (
            ("series_list", "/series"),
            ("events_list", "/events"),
            ("markets_list", "/markets"),
            ("event_single", "/events/KXELONMARS-99"),
            ("series_single", "/series/CO2"),
            ("exchange_status", "/exchange/status"),
            ("series_fee_changes", "/series/fee_changes"),
            ("tags_by_categories", "/search/tags_by_categories"),
        ):
            assert await client.get(path) == _recorded(kalshi_data, name), path
        markets = await client.all("/markets", "markets")
        events = await client.all("/events", "events")
        assert len(markets) == 6
        assert len(events) == 5
        mars = (await client.get("/markets/KXELONMARS-99"))["market"]
        assert mars["last_price"] == 6
        assert (await client.get("/markets", tickers="KXELONMARS-99,KXNONE"))["markets"] == [mars]
        assert (await client.get("/markets", status="settled"))["markets"] == []
        assert (await client.reply("/series/KXELONMARS"))[0] == 404
        lines = (kalshi_data / "recordings").glob("*.jsonl")
        recorded = [line for path in lines for line in path.read_text().splitlines()]
        async with client.socket() as ws:
            channels = ["market_lifecycle_v2", "multivariate_market_lifecycle"]
            await ws.send_json({"id": 1, "cmd": "subscribe", "params": {"channels": channels}})
            frames = [await ws.receive_str() for _ in range(len(recorded) + 2)]
        assert sorted(f for f in frames if '"subscribed"' not in f) == sorted(recorded)


async def test_a_replay_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoRecordings, match=r"_response\.json"):
        Simulator(replay=tmp_path)
