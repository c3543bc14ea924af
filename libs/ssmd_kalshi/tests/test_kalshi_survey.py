"""The drift report: silent about what is known, complete about what is not."""

from aiohttp import web

from ssmd_kalshi.budget import Budget
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.survey import survey
from ssmd_simulator.server import Simulator


async def test_the_simulated_exchange_has_no_drift() -> None:
    async with (
        Simulator(budget=0) as simulator,
        KalshiRest(simulator.base_url, budget=Budget(1e6)) as rest,
    ):
        assert await survey(rest) == []
        assert rest.drift.rows["market"] > 1000


async def test_everything_new_is_reported(exchange) -> None:
    replies = {
        "/series": {"series": [{"ticker": "S", "mood": "good"}]},
        "/series/fee_changes": {"series_fee_change_arr": [{"series_ticker": "S", "id": 7}]},
        "/events/fee_changes": {"event_fee_changes": [], "cursor": ""},
        "/events": {"events": [], "cursor": ""},
        "/markets": {"markets": [{"ticker": "M", "status": "frozen"}], "cursor": ""},
        "/historical/markets": {"markets": None, "cursor": ""},
    }
    exchange.otherwise = lambda r: web.json_response(replies[r.path.removeprefix("/trade-api/v2")])
    async with KalshiRest(exchange.base_url, budget=Budget(1e6)) as rest:
        findings = await survey(rest)
    seen = {(f.kind, f.entity, f.name): f for f in findings}
    assert seen["unknown field", "series", "mood"].example == '"good"'
    word = seen["unknown word", "market", "status"]
    assert (word.example, word.count, word.rows) == ("frozen", 6, 6)
    assert seen["missing field", "market", "event_ticker"].count == 6
    assert ("missing field", "market", "status") not in seen
    [rejected] = [f for f in findings if f.kind == "rejected row"]
    assert "it is not a text" in rejected.name


async def test_rejected_fields_are_listed_with_a_count_and_an_example(exchange) -> None:
    bad = {"event_ticker": "E", "custom_strike": "x", "close_time": "2026-01-01T24:00:00Z"}
    replies = {
        "/series": {"series": [{"ticker": "S", "tags": ["a", None]}]},
        "/series/fee_changes": {"series_fee_change_arr": []},
        "/events/fee_changes": {"event_fee_changes": [], "cursor": ""},
        "/events": {"events": [{"event_ticker": "E", "strike_date": "soon"}], "cursor": ""},
        "/markets": {"markets": [{"ticker": "M", **bad}, {"ticker": "N", **bad}], "cursor": ""},
        "/historical/markets": {"markets": None, "cursor": ""},
    }
    exchange.otherwise = lambda r: web.json_response(replies[r.path.removeprefix("/trade-api/v2")])
    async with KalshiRest(exchange.base_url, budget=Budget(1e6)) as rest:
        findings = await survey(rest)
    rejected = {
        (f.entity, f.name): (f.count, f.rows, f.example)
        for f in findings
        if f.kind == "rejected field"
    }
    assert rejected == {
        ("series", "tags"): (1, 1, '["a", null]'),
        ("event", "strike_date"): (3, 3, '"soon"'),
        ("market", "custom_strike"): (12, 12, '"x"'),
        ("market", "close_time"): (12, 12, '"2026-01-01T24:00:00Z"'),
    }
    # What is missing is not unreadable.
    missing = {(f.entity, f.name) for f in findings if f.kind == "missing field"}
    assert ("event", "series_ticker") in missing


async def test_no_more_pages_than_asked_for(exchange) -> None:
    def reply(request: web.Request) -> web.Response:
        name = request.path.removeprefix("/trade-api/v2")
        at = int(request.query.get("cursor", "0")) + 1
        if name == "/markets":
            rows = [{"ticker": f"{request.query_string}{n}"} for n in range(1000)]
            return web.json_response({"markets": rows, "cursor": str(at)})
        keys = {
            "/series": "series",
            "/series/fee_changes": "series_fee_change_arr",
            "/events/fee_changes": "event_fee_changes",
            "/events": "events",
            "/historical/markets": "markets",
        }
        return web.json_response({keys[name]: [], "cursor": ""})

    exchange.otherwise = reply
    async with KalshiRest(exchange.base_url, budget=Budget(1e6)) as rest:
        await survey(rest, pages=2)
    deepest = max(
        int(r.query.get("cursor", "0")) for r in exchange.requests if r.path.endswith("/markets")
    )
    # The third page may be on its way already when the scan is left.
    assert deepest <= 2
