"""The REST client against a scripted exchange: every fault that a network and a server can have."""

import asyncio
import json
from collections.abc import Callable

import pytest
from aiohttp import web

from ssmd_kalshi import endpoints, errors, metrics
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.http import error_text
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy


def page(*tickers: str, cursor: str = "") -> Callable[[web.Request], web.Response]:
    rows = [{"ticker": ticker, "event_ticker": "E"} for ticker in tickers]
    return lambda _: web.json_response({"markets": rows, "cursor": cursor})


def status(code: int, body: object = None, **headers: str) -> Callable[[web.Request], web.Response]:
    return lambda _: web.json_response(body, status=code, headers=headers)


def raw(
    body: bytes, content_type: str = "application/json"
) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(body=body, content_type=content_type)


async def reset(request: web.Request) -> web.Response:
    """A connection reset before any reply."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def reset_mid_body(request: web.Request) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"Content-Length": "100000"})
    await reply.prepare(request)
    await reply.write(b'{"markets":[{"ticker":"A"},')
    assert request.transport is not None
    request.transport.abort()
    return reply


async def silence(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
def budget() -> Budget:
    return Budget(1_000_000)


async def tickers(rest: KalshiRest, **filters: object) -> list[str]:
    return [
        market.ticker
        async for one in rest.markets(**filters)  # type: ignore[arg-type]
        for market in one.items
    ]


async def test_pages_follow_the_cursor(exchange, budget: Budget) -> None:
    exchange.then(page("A", "B", cursor="c1"), page("C", "D", cursor="c2"), page("E"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        assert await tickers(rest, status="open", limit=2) == ["A", "B", "C", "D", "E"]
    assert exchange.paths == [
        "/trade-api/v2/markets?status=open&mve_filter=exclude&limit=2",
        "/trade-api/v2/markets?status=open&mve_filter=exclude&limit=2&cursor=c1",
        "/trade-api/v2/markets?status=open&mve_filter=exclude&limit=2&cursor=c2",
    ]


async def test_a_scan_resumes_at_a_cursor(exchange, budget: Budget) -> None:
    exchange.then(page("C"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        assert await tickers(rest, cursor="c+/=") == ["C"]
    assert exchange.requests[0].query["cursor"] == "c+/="


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(reset, id="reset"),
        pytest.param(reset_mid_body, id="reset mid-body"),
        pytest.param(raw(b'{"markets":[{"ticker":"A"}'), id="truncated JSON"),
        pytest.param(raw(b"<html>hi</html>", "text/html"), id="not JSON"),
        pytest.param(raw(b""), id="empty"),
        pytest.param(raw(b"{}"), id="another object"),
        pytest.param(raw(b"[1,2]"), id="a list"),
        pytest.param(status(500, {"error": {"code": "internal", "message": "x"}}), id="500"),
        pytest.param(status(502), id="502"),
        pytest.param(status(503, {"code": "unavailable"}), id="503"),
        pytest.param(status(429, {"error": "too many requests"}), id="429"),
    ],
)
async def test_faults_that_pass_are_survived(
    exchange, budget: Budget, patient: RetryPolicy, fault
) -> None:
    exchange.then(fault, fault, page("A"))
    async with KalshiRest(exchange.base_url, budget=budget, policy=patient) as rest:
        assert await tickers(rest) == ["A"]
    assert len(exchange.requests) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(reset, errors.UnreachableError, id="reset"),
        pytest.param(reset_mid_body, errors.BrokenReplyError, id="reset mid-body"),
        pytest.param(raw(b'{"markets":['), errors.BrokenReplyError, id="truncated JSON"),
        pytest.param(raw(b"hi", "text/html"), errors.BrokenReplyError, id="not JSON"),
        pytest.param(status(500), errors.ServerFaultError, id="500"),
        pytest.param(status(429), errors.RateLimitedError, id="429"),
    ],
)
async def test_faults_that_stay_are_typed(
    exchange, budget: Budget, patient: RetryPolicy, fault, error: type[errors.KalshiError]
) -> None:
    exchange.otherwise = fault
    async with KalshiRest(exchange.base_url, budget=budget, policy=patient) as rest:
        with pytest.raises(error) as caught:
            await tickers(rest)
    assert isinstance(caught.value, errors.TransientError)
    assert caught.value.exit_code == 4
    expected = patient.throttled_attempts if error is errors.RateLimitedError else patient.attempts
    assert len(exchange.requests) == expected


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (302, errors.RefusedError),
        (400, errors.BadRequestError),
        (401, errors.NotAuthorizedError),
        (403, errors.NotAuthorizedError),
        (404, errors.NotFoundError),
        (410, errors.RefusedError),
    ],
)
async def test_refusals_are_not_repeated(
    exchange, budget: Budget, code: int, error: type[errors.ReplyError]
) -> None:
    exchange.otherwise = status(code, {"error": "no"}, Location="http://127.0.0.1:1/")
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        with pytest.raises(error, match="no") as caught:
            await rest.market("A")
    assert caught.value.status == code
    assert len(exchange.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"too many requests"}', "too many requests"),
        (
            b'{"error":{"code":"bad_request","message":"invalid limit","details":"limit"}}',
            "bad_request: invalid limit: limit",
        ),
        (b'{"code":"not_found","message":"market not found"}', "not_found: market not found"),
        (b'{"error":{"code":7,"message":null}}', ""),
        (b"<html>", "<html>"),
        (b"", ""),
        (b"[1]", ""),
        (b"\xff\x00\x1b[31m", "\ufffd  [31m"),
        (b"[" * 100_000, "[" * 120 + "…"),
    ],
)
def test_the_exchange_is_quoted_in_each_of_its_shapes(body: bytes, said: str) -> None:
    assert error_text(body) == said


async def test_429_slows_the_budget_down(exchange, patient: RetryPolicy) -> None:
    budget = Budget(100_000)
    exchange.then(status(429, {"error": "too many requests"}), page("A"))
    async with KalshiRest(exchange.base_url, budget=budget, policy=patient) as rest:
        assert await tickers(rest) == ["A"]
    assert budget.refusals == 1
    assert budget._bucket.reserved == 0


async def test_attempts_have_a_deadline(exchange, budget: Budget) -> None:
    exchange.then(silence, page("A"))
    policy = RetryPolicy(attempt_seconds=0.2, base_seconds=0.001)
    async with KalshiRest(exchange.base_url, budget=budget, policy=policy) as rest:
        assert await tickers(rest) == ["A"]


async def test_all_attempts_together_have_a_deadline(exchange, budget: Budget) -> None:
    exchange.otherwise = silence
    policy = RetryPolicy(attempt_seconds=3600, total_seconds=0.2)
    async with KalshiRest(exchange.base_url, budget=budget, policy=policy) as rest:
        with pytest.raises(errors.DeadlineError):
            await tickers(rest)


async def test_nobody_there(budget: Budget, patient: RetryPolicy) -> None:
    async with KalshiRest("http://127.0.0.1:1/trade-api/v2", budget=budget, policy=patient) as rest:
        with pytest.raises(errors.UnreachableError, match="KALSHI_BASE_URL"):
            await rest.exchange_status()


@pytest.mark.parametrize(
    "url", ["", "kalshi", "ftp://kalshi/trade-api", "http://", "http://h/?a=b"]
)
def test_base_url_is_checked_at_once(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="KALSHI_BASE_URL"):
        KalshiRest(url)


async def test_cancelling_leaves_no_connection_behind(exchange, budget: Budget) -> None:
    arrived = asyncio.Event()
    gone = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    exchange.otherwise = hang
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        task = asyncio.create_task(rest.market("A"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The server notices because the client closed its end, while the client lives on.
        await asyncio.wait_for(gone.wait(), 180)
        exchange.otherwise = page("B")
        assert await tickers(rest) == ["B"]


async def test_connections_are_reused_and_closed_at_the_end(exchange, budget: Budget) -> None:
    exchange.otherwise = page("A")
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        for _ in range(5):
            assert await tickers(rest) == ["A"]
    assert len(exchange.connections) == 1


async def test_stop_interrupts_a_retry(exchange, budget: Budget) -> None:
    stop = asyncio.Event()

    def fail(_: web.Request) -> web.Response:
        stop.set()
        return web.Response(status=500)

    exchange.otherwise = fail
    policy = RetryPolicy(base_seconds=3600, cap_seconds=3600, total_seconds=7200)
    async with KalshiRest(exchange.base_url, budget=budget, policy=policy, stop=stop) as rest:
        with pytest.raises(errors.InterruptedWaitError):
            await rest.exchange_status()


# --- scans that cannot be trusted ---------------------------------------------------------------


async def test_cursor_loop_is_refused(exchange, budget: Budget) -> None:
    exchange.then(page("A", cursor="1"), page("B", cursor="2"))
    exchange.otherwise = page("C", cursor="1")
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        with pytest.raises(errors.CursorLoopError):
            await tickers(rest, limit=1)
    assert len(exchange.requests) == 4


async def test_repeated_page_is_refused(exchange, budget: Budget) -> None:
    exchange.then(page("A", cursor="1"))
    exchange.otherwise = page("A", cursor="2")
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        with pytest.raises(errors.RepeatedPageError):
            await tickers(rest, limit=1)


async def test_an_empty_page_with_a_new_cursor_is_followed(exchange, budget: Budget) -> None:
    """The same nothing twice: as a short page that stays the same."""
    empty = page(cursor="2")
    exchange.then(page("A", cursor="1"), page("A", cursor="1"), empty, empty, page("B"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        pages = [one async for one in rest.markets(limit=5)]
    assert [m.ticker for one in pages for m in one.items] == ["A", "B"]
    assert all(one.complete for one in pages)


async def test_empty_pages_without_end_are_refused(exchange, budget: Budget) -> None:
    exchange.otherwise = lambda request: page(cursor=request.query.get("cursor", "") + "1")(request)
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        with pytest.raises(errors.EmptyPageError):
            await tickers(rest)


async def test_an_empty_page_with_a_cursor_already_followed_is_a_loop(
    exchange, budget: Budget
) -> None:
    exchange.otherwise = page(cursor="1")
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        with pytest.raises(errors.CursorLoopError):
            await tickers(rest)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(page("A", "B", cursor="2"), id="stale page"),
        pytest.param(page("C", "D", cursor="1"), id="loop"),
        pytest.param(page(cursor="2"), id="empty"),
        pytest.param(page("C", cursor="2"), id="truncated"),
    ],
)
async def test_a_doubtful_page_is_asked_for_once_more(exchange, budget: Budget, wrong) -> None:
    exchange.then(page("A", "B", cursor="1"), wrong, page("C", "D", cursor="2"), page("E"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        assert await tickers(rest, limit=2) == ["A", "B", "C", "D", "E"]
    assert len(exchange.requests) == 4


async def test_short_pages_that_stay_the_same_are_normal(exchange, budget: Budget) -> None:
    exchange.then(page("A", cursor="1"), page("A", cursor="1"), page("B", cursor="2"), page("C"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        pages = [one async for one in rest.markets(limit=5)]
    assert [m.ticker for one in pages for m in one.items] == ["A", "B", "C"]
    assert all(one.complete for one in pages)
    assert len(exchange.requests) == 4


async def test_short_pages_that_differ_are_not_complete(exchange, budget: Budget) -> None:
    exchange.then(page("A", "B", cursor="1"), page("B", cursor="1"), page("C"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        pages = [one async for one in rest.markets(limit=5)]
    assert [m.ticker for m in pages[0].items] == ["A", "B"]
    assert pages[0].short
    assert not pages[0].complete
    assert pages[1].complete


async def test_a_bad_row_is_rejected_and_the_scan_goes_on(exchange, budget: Budget) -> None:
    exchange.then(
        lambda _: web.json_response(
            {"markets": [{"ticker": "A"}, {"ticker": None}], "cursor": "1"}
        ),
        page("B"),
    )
    before = metrics.REJECTED_ROWS.labels("market")._value.get()
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        pages = [one async for one in rest.markets(limit=2)]
    assert [m.ticker for one in pages for m in one.items] == ["A", "B"]
    assert len(pages[0].rejected_rows) == 1
    assert metrics.REJECTED_ROWS.labels("market")._value.get() == before + 1


# --- each endpoint --------------------------------------------------------------------------------


async def test_every_endpoint_with_its_parameters(exchange, budget: Budget) -> None:
    replies = {
        "/series": {"series": [{"ticker": "S"}]},
        "/series/S": {"series": {"ticker": "S"}},
        "/series/fee_changes": {"series_fee_change_arr": [{"series_ticker": "S", "id": "1"}]},
        "/events": {"events": [{"event_ticker": "E", "series_ticker": "S"}], "cursor": ""},
        "/events/E": {"event": {"event_ticker": "E"}, "markets": [{"ticker": "M"}]},
        "/events/fee_changes": {
            "event_fee_changes": [{"event_ticker": "E", "fee_type_override": None}],
            "cursor": "",
        },
        "/markets/M.5": {"market": {"ticker": "M.5"}},
        "/historical/markets": {"markets": [{"ticker": "H"}], "cursor": ""},
        "/historical/markets/H": {"market": {"ticker": "H"}},
        "/historical/cutoff": {"market_settled_ts": "2026-09-01T00:00:00Z", "new": 1},
        "/search/tags_by_categories": {"tags_by_categories": {"World": None, "Crypto": ["BTC"]}},
        "/search/filters_by_sport": {"filters_by_sports": {"Golf": {"scopes": None}}},
        "/exchange/status": {"exchange_active": True, "trading_active": False},
        "/exchange/schedule": {"schedule": {"standard_hours": [], "maintenance_windows": []}},
        "/account/endpoint_costs": {
            "default_cost": 10,
            "endpoint_costs": [{"method": "GET", "path": "/trade-api/v2/events", "cost": 4}],
        },
    }
    exchange.otherwise = lambda r: web.json_response(replies[r.path.removeprefix("/trade-api/v2")])
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        series = await rest.series(
            category="Climate and Weather",
            tags=["A & B", "C"],
            include_volume=True,
            min_updated_ts=5,
        )
        assert [s.ticker for s in series.items] == ["S"]
        query = dict(exchange.requests[-1].query)
        assert query == {
            "category": "Climate and Weather",
            "tags": "A & B,C",
            "include_volume": "true",
            "min_updated_ts": "5",
        }
        assert (await rest.one_series("S")).ticker == "S"
        assert exchange.paths[-1] == "/trade-api/v2/series/S"
        assert [c.id for c in (await rest.series_fee_changes()).items] == ["1"]
        assert exchange.requests[-1].query["show_historical"] == "true"
        [one] = [p async for p in rest.events(with_nested_markets=True, tickers=["E"])]
        assert one.items[0].series_ticker == "S"
        assert dict(exchange.requests[-1].query) == {
            "tickers": "E",
            "with_nested_markets": "true",
            "limit": "200",
        }
        event = await rest.event("E")
        assert [m.ticker for m in event.markets or ()] == ["M"]
        [fees] = [p async for p in rest.event_fee_changes()]
        assert fees.items[0].fee_type_override is None
        assert (await rest.market("M.5")).ticker == "M.5"
        [old] = [p async for p in rest.historical_markets(event_ticker="E")]
        assert old.items[0].ticker == "H"
        assert (await rest.historical_market("H")).ticker == "H"
        assert (await rest.historical_cutoff()).market_settled_ts == "2026-09-01T00:00:00Z"
        assert await rest.tags_by_categories() == {"World": [], "Crypto": ["BTC"]}
        assert "Golf" in (await rest.filters_by_sport()).filters_by_sports
        assert not (await rest.exchange_status()).trading_active
        assert (await rest.exchange_schedule()).standard_hours == []
        assert (await rest.endpoint_costs()).default_cost == 10
        assert rest.budget.cost(endpoints.EVENTS) == 4


async def test_multivariate_markets_are_excluded_unless_named(exchange, budget: Budget) -> None:
    exchange.otherwise = page("A")
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        await tickers(rest)
        await tickers(rest, tickers=["KXMVE-1"])
        await tickers(rest, mve_filter="only")
        await tickers(rest, mve_filter="none")
    sent = [request.query.get("mve_filter") for request in exchange.requests]
    assert sent == ["exclude", None, "only", None]


async def test_multivariate_markets_break_nothing(exchange, budget: Budget, recording) -> None:
    reply = recording("markets_list")
    exchange.then(lambda _: web.json_response({**reply, "cursor": ""}))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        [one] = [p async for p in rest.markets(mve_filter="only")]
    assert len(one.items) == 5
    assert one.complete


async def test_a_ticker_stays_one_path_segment(exchange, budget: Budget) -> None:
    exchange.otherwise = status(404, {"error": "no"})
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        with pytest.raises(errors.NotFoundError):
            await rest.market("A/../B?x=1")
    assert exchange.requests[0].raw_path == "/trade-api/v2/markets/A%2F..%2FB%3Fx%3D1"


async def test_an_outage_that_the_exchange_reports_itself(exchange, budget: Budget) -> None:
    exchange.otherwise = status(503, {"exchange_active": False, "trading_active": False})
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        assert not (await rest.exchange_status()).exchange_active


async def test_many_tasks_share_a_client(exchange, budget: Budget) -> None:
    exchange.otherwise = lambda r: web.json_response({"market": {"ticker": r.path.split("/")[-1]}})
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        markets = await asyncio.gather(*(rest.market(f"M{n}") for n in range(100)))
    assert [m.ticker for m in markets] == [f"M{n}" for n in range(100)]
    assert len(exchange.connections) <= 16


async def test_requests_are_counted_by_endpoint_and_code(
    exchange, budget: Budget, patient: RetryPolicy
) -> None:
    def count(code: str) -> float:
        return metrics.REQUESTS.labels("market", code)._value.get()

    before = {code: count(code) for code in ("200", "500", "unreachable", "broken")}
    exchange.then(
        status(500), reset, raw(b"{"), lambda _: web.json_response({"market": {"ticker": "M"}})
    )
    async with KalshiRest(exchange.base_url, budget=budget, policy=patient) as rest:
        await rest.market("M")
    assert {code: count(code) - n for code, n in before.items()} == {
        "200": 1,
        "500": 1,
        "unreachable": 1,
        "broken": 1,
    }


async def test_recorded_replies_over_http(exchange, budget: Budget, recording) -> None:
    names = {"/series": "series_list", "/exchange/status": "exchange_status"}
    exchange.otherwise = lambda r: web.Response(
        body=json.dumps(recording(names[r.path.removeprefix("/trade-api/v2")])).encode(),
        content_type="application/json",
    )
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        assert len((await rest.series()).items) == 241
        assert (await rest.exchange_status()).exchange_active


# --- one page ahead ----------------------------------------------------------------------------


async def test_the_next_page_is_fetched_while_this_one_is_worked_on(
    exchange, budget: Budget
) -> None:
    second_asked = asyncio.Event()

    def second(_: web.Request) -> web.Response:
        second_asked.set()
        return page("B", cursor="2")(_)

    exchange.then(page("A", cursor="1"), second, page("C"))
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        pages = rest.markets(limit=1)
        first = await anext(pages)
        assert first.items[0].ticker == "A"
        await asyncio.wait_for(second_asked.wait(), 180)
        assert len(exchange.requests) == 2
        assert [m.ticker async for one in pages for m in one.items] == ["B", "C"]


async def test_leaving_a_scan_cancels_the_page_on_its_way(exchange, budget: Budget) -> None:
    arrived = asyncio.Event()
    gone = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    exchange.then(page("A", cursor="1"), hang)
    async with KalshiRest(exchange.base_url, budget=budget) as rest:
        pages = rest.markets(limit=1)
        await anext(pages)
        await arrived.wait()
        await pages.aclose()  # type: ignore[attr-defined]
        await asyncio.wait_for(gone.wait(), 180)
    assert [task for task in asyncio.all_tasks() if "page of" in task.get_name()] == []


async def test_a_failure_ahead_waits_for_its_turn(
    exchange, budget: Budget, patient: RetryPolicy
) -> None:
    exchange.then(page("A", cursor="1"))
    exchange.otherwise = status(500)
    async with KalshiRest(exchange.base_url, budget=budget, policy=patient) as rest:
        pages = rest.markets(limit=1)
        assert (await anext(pages)).items[0].ticker == "A"
        with pytest.raises(errors.ServerFaultError):
            await anext(pages)
