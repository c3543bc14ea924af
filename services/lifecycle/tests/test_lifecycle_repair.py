"""A repair reads rows that cannot be read: it ends, and stores all that can."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio
from aiohttp import web
from psycopg.rows import dict_row
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_kalshi.errors import TransientError
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_lifecycle.apply.effects import Outcome
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.apply.resolver import Resolver
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.repair.backfill import Backfill
from ssmd_lifecycle.repair.repairer import Repairer
from ssmd_lifecycle.repair.rest_upserter import BELIEVED_BROKEN, RestUpserter
from ssmd_stack.database import Database
from ssmd_store.sessions import Sessions

Connection = psycopg.AsyncConnection[Any]
NOW = datetime.now(UTC).replace(microsecond=0)
DEEP = "[" * 2000 + "]" * 2000


def at(days: float) -> str:
    return (NOW + timedelta(days=days)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Raw:
    """A whole reply instead of a row."""

    text: str


class Exchange:
    """The endpoints that a repair reads, with rows that a test spoils."""

    def __init__(self) -> None:
        self.series: dict[str, Any] = {}
        self.events: dict[str, Any] = {}
        self.markets: dict[str, Any] = {}
        self.status: dict[str, int] = {}
        for name in ("ZGOOD", "ZBAD"):
            self.series[name] = {"ticker": name, "title": name, "category": "Sports", "tags": ["a"]}
            self.events[f"{name}-1"] = {
                "event_ticker": f"{name}-1",
                "series_ticker": name,
                "title": f"{name}?",
            }
            for ticker in (f"{name}-1-A", f"{name}-1-B"):
                self.markets[ticker] = {
                    "ticker": ticker,
                    "event_ticker": f"{name}-1",
                    "title": ticker,
                    "status": "active",
                    "open_time": at(-30),
                    "close_time": at(30),
                    "updated_time": at(-0.1),
                    "yes_bid_dollars": "0.5600",
                    "floor_strike": 5,
                }

    def app(self) -> web.Application:
        app = web.Application()
        prefix = "/trade-api/v2"
        for path, answer in (
            ("/series/{ticker}", self._one("series")),
            ("/events/{ticker}", self._one("event")),
            ("/markets/{ticker}", self._one("market")),
            ("/events", self._page("events", "event_ticker")),
            ("/markets", self._page("markets", "ticker")),
        ):
            app.router.add_get(prefix + path, answer)
        return app

    def _rows(self, name: str) -> dict[str, Any]:
        return {"series": self.series, "event": self.events, "events": self.events}.get(
            name, self.markets
        )

    def _one(self, key: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            ticker = request.match_info["ticker"]
            if status := self.status.get(ticker):
                return web.json_response({"error": {"code": "no"}}, status=status)
            row = self._rows(key).get(ticker)
            if row is None:
                return web.json_response({"error": {"code": "not_found"}}, status=404)
            return _reply(row.text if isinstance(row, Raw) else _object({key: row}))

        return answer

    def _page(self, key: str, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if status := self.status.get(key):
                return web.json_response({}, status=status)
            rows = self._rows(key)
            if wanted := request.query.get("tickers"):
                rows = {t: row for t, row in rows.items() if t in wanted.split(",")}
            listed = [row for row in rows.values() if not isinstance(row, Raw)]
            return _reply(_object({key: listed, "cursor": ""}))

        return answer


def _object(document: Any) -> str:
    # What a test wants to be raw JSON is marked in the text.
    text = msgspec.json.encode(document).decode()
    return text.replace('"<DEEP>"', DEEP)


def _reply(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest_asyncio.fixture
async def base_url(exchange: Exchange) -> AsyncIterator[str]:
    runner = web.AppRunner(exchange.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield f"http://127.0.0.1:{port}/trade-api/v2"
    await runner.cleanup()


class Repair:
    """`await repair()` repairs everything once; `await rows(query)` looks at the tables."""

    def __init__(self, repairer: Repairer, resolver: Resolver, connection: Connection) -> None:
        self._repairer = repairer
        self.resolver = resolver
        self._connection = connection

    async def __call__(self) -> int:
        return (await self._repairer.repair(NOW - timedelta(days=1))).changed

    async def rows(self, table: str) -> dict[str, dict[str, Any]]:
        key = "event_ticker" if table == "events" else "ticker"
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(f"SELECT *, xmin::text FROM {table}")
            return {row[key]: row for row in await cursor.fetchall()}


@pytest_asyncio.fixture
async def repair(
    database: Database, sessions: Sessions, connection: Connection, base_url: str
) -> AsyncIterator[Repair]:
    pool = await postgres.open_pool(SecretStr(database.url), "t", budget_seconds=30, max_size=3)
    policy = RetryPolicy(attempts=2, base_seconds=0.01, cap_seconds=0.01)
    async with KalshiRest(base_url, budget=100_000, policy=policy) as rest:
        upserter = RestUpserter(sessions, rest)
        backfill = Backfill(pool, FilterFile(None), Inbox(1))
        repairer = Repairer(Gaps(pool), rest, upserter, backfill)
        yield Repair(repairer, Resolver(MessageStore(pool), upserter), connection)
    await pool.close()


async def all_but(repair: Repair, *missing: str) -> None:
    """Every market but those is stored, with its own values."""
    found = await repair.rows("markets")
    expected = {f"{name}-1-{which}" for name in ("ZGOOD", "ZBAD") for which in "AB"}
    assert found.keys() == expected - set(missing)
    for ticker in ("ZGOOD-1-A", "ZGOOD-1-B"):
        row = found[ticker]
        assert (row["title"], row["status"], row["yes_bid"]) == (ticker, "active", 56)


# --- a series -------------------------------------------------------------------------------------


async def test_a_field_of_a_series_costs_itself(repair: Repair, exchange: Exchange) -> None:
    exchange.series["ZBAD"]["tags"] = ["a", None]
    await repair()
    await all_but(repair)
    series = await repair.rows("series")
    assert (series["ZBAD"]["title"], series["ZBAD"]["tags"]) == ("ZBAD", None)
    assert series["ZGOOD"]["tags"] == ["a"]


@pytest.mark.parametrize(
    "row",
    [
        {"ticker": 5, "title": "t"},
        {"title": "t"},
        404,
        400,
        Raw('{"series": null}'),
        Raw('{"series": {"ticker": "ZBAD", '),
    ],
    ids=str,
)
async def test_a_series_that_cannot_be_read_stays_a_stub(
    repair: Repair, exchange: Exchange, row: Any
) -> None:
    if isinstance(row, int):
        exchange.status["ZBAD"] = row
    else:
        exchange.series["ZBAD"] = row
    if isinstance(row, Raw):
        # A reply that is none may pass; after some readings it is the row's fault.
        for _ in range(BELIEVED_BROKEN - 1):
            with pytest.raises(TransientError):
                await repair()
    await repair()
    await all_but(repair)
    series = await repair.rows("series")
    assert (series["ZBAD"]["title"], series["ZGOOD"]["title"]) == (None, "ZGOOD")


async def test_a_stub_whose_title_cannot_be_read_is_written_once(
    repair: Repair, exchange: Exchange
) -> None:
    exchange.series["ZBAD"] |= {"title": 5, "category": "Politics"}
    await repair()
    before = await repair.rows("series")
    assert (before["ZBAD"]["title"], before["ZBAD"]["category"]) == (None, "Politics")
    await repair()
    assert await repair.rows("series") == before
    exchange.series["ZBAD"] |= {"title": "B", "category": 5}
    await repair()
    after = await repair.rows("series")
    assert (after["ZBAD"]["title"], after["ZBAD"]["category"]) == ("B", "Politics")


# --- an event -------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", [5, None, "<DEEP>", "a\0b"], ids=str)
async def test_a_field_of_an_event_keeps_what_is_stored(
    repair: Repair, exchange: Exchange, title: Any
) -> None:
    await repair()
    exchange.events["ZBAD-1"] |= {"title": title, "sub_title": "new"}
    await repair()
    events = await repair.rows("events")
    assert events["ZBAD-1"]["sub_title"] == "new"
    assert events["ZBAD-1"]["title"] == (None if title is None else "ZBAD?")
    await repair()
    assert await repair.rows("events") == events


@pytest.mark.parametrize(
    "series", [5, "", "<DEEP>", "x" * 200], ids=["number", "empty", "deep", "long"]
)
async def test_an_event_whose_series_cannot_be_read_has_no_place_unless_it_is_stored(
    repair: Repair, exchange: Exchange, series: Any
) -> None:
    exchange.events["ZBAD-1"]["series_ticker"] = series
    await repair()
    await all_but(repair, "ZBAD-1-A", "ZBAD-1-B")
    exchange.events["ZBAD-1"]["series_ticker"] = "ZBAD"
    await repair()
    await all_but(repair)
    exchange.events["ZBAD-1"] |= {"series_ticker": series, "title": "New"}
    await repair()
    events = await repair.rows("events")
    assert (events["ZBAD-1"]["series_ticker"], events["ZBAD-1"]["title"]) == ("ZBAD", "New")


@pytest.mark.parametrize("row", [5, {"title": "x"}, Raw('{"event": null}'), 400], ids=str)
async def test_an_event_that_cannot_be_read_costs_its_markets_only(
    repair: Repair, exchange: Exchange, row: Any
) -> None:
    if row == 400:
        del exchange.events["ZBAD-1"]
        exchange.status["ZBAD-1"] = 400
    else:
        exchange.events["ZBAD-1"] = row
    if isinstance(row, Raw | int) and row != 400:
        for _ in range(BELIEVED_BROKEN - 1):
            with pytest.raises(TransientError):
                await repair()
    await repair()
    await all_but(repair, "ZBAD-1-A", "ZBAD-1-B")


# --- a market -------------------------------------------------------------------------------------

FIELDS = {
    "title": (5, ("title",)),
    "status": (["active"], ("status", "exchange_status")),
    "close_time": ("T24:00:00Z", ("close_time",)),
    "open_time": (5, ("open_time",)),
    "updated_time": ("soon", ("exchange_updated_at",)),
    "yes_bid_dollars": ("abc", ("yes_bid_dollars", "yes_bid")),
    "floor_strike": ({"a": 1}, ("floor_strike",)),
    "created_time": ({"a": 1}, ()),
}


@pytest.mark.parametrize("field", FIELDS)
async def test_a_field_of_a_market_keeps_what_is_stored(
    repair: Repair, exchange: Exchange, field: str
) -> None:
    value, columns = FIELDS[field]
    # One that is stored, and one that is new.
    new = exchange.markets.pop("ZBAD-1-B")
    await repair()
    before = (await repair.rows("markets"))["ZBAD-1-A"]
    exchange.markets["ZBAD-1-B"] = {**new, field: value}
    exchange.markets["ZBAD-1-A"] |= {field: value, "cap_strike": 9}
    assert await repair() == 2
    found = await repair.rows("markets")
    assert found["ZBAD-1-A"]["cap_strike"] == 9
    own = {"xmin", "updated_at", "observed_at", "cap_strike", "extra"}
    for column, stored in before.items():
        if column not in own:
            assert found["ZBAD-1-A"][column] == stored, column
    for column in columns:
        assert found["ZBAD-1-B"][column] == ("open" if column == "status" else None)
    assert found["ZBAD-1-B"]["event_ticker"] == "ZBAD-1"
    assert await repair() == 0
    assert await repair.rows("markets") == found


@pytest.mark.parametrize("event", [5, "", None, "<DEEP>"], ids=str)
async def test_a_market_keeps_its_stored_event_or_has_no_place(
    repair: Repair, exchange: Exchange, event: Any
) -> None:
    new = exchange.markets.pop("ZBAD-1-B")
    await repair()
    exchange.markets["ZBAD-1-B"] = {**new, "event_ticker": event}
    exchange.markets["ZBAD-1-A"] |= {"event_ticker": event, "status": "finalized", "result": "yes"}
    await repair()
    await all_but(repair, "ZBAD-1-B")
    row = (await repair.rows("markets"))["ZBAD-1-A"]
    assert (row["event_ticker"], row["series_ticker"]) == ("ZBAD-1", "ZBAD")
    assert (row["status"], row["result"]) == ("settled", "yes")
    assert (await repair.rows("events"))["ZBAD-1"]["status"] == "settled"


async def test_a_row_that_postgres_refuses_costs_itself(
    repair: Repair, exchange: Exchange, connection: Connection
) -> None:
    """Whatever a reader has not thought of."""
    for table in ("series", "events", "markets"):
        await connection.execute(f"ALTER TABLE {table} ADD CHECK (title <> 'forbidden')")
    exchange.series["ZBAD"]["title"] = "forbidden"
    exchange.markets["ZBAD-1-B"]["title"] = "forbidden"
    await repair()
    await all_but(repair, "ZBAD-1-B")
    assert (await repair.rows("series"))["ZBAD"]["title"] is None
    exchange.events["ZBAD-1"] |= {"title": "forbidden", "last_updated_ts": at(0)}
    exchange.events["ZGOOD-1"] |= {"title": "New", "last_updated_ts": at(0)}
    await repair()
    events = await repair.rows("events")
    assert (events["ZBAD-1"]["title"], events["ZGOOD-1"]["title"]) == ("ZBAD?", "New")


# --- what is no row's fault -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["events", "markets"])
async def test_a_page_that_cannot_be_read_is_tried_again(
    repair: Repair, exchange: Exchange, what: str
) -> None:
    exchange.status[what] = 503
    for _ in range(BELIEVED_BROKEN + 1):
        with pytest.raises(TransientError):
            await repair()
    assert await repair.rows("series") == {} or what == "markets"
    exchange.status.clear()
    await repair()
    await all_but(repair)


@pytest.mark.parametrize("ticker", ["ZBAD-1,ZBAD-2", "ZBAD:1", "ZBAD/1?%", "ZBÄD"])
async def test_tickers_that_no_list_can_name_are_read_alone(
    repair: Repair, exchange: Exchange, ticker: str
) -> None:
    exchange.events[ticker] = {"event_ticker": ticker, "series_ticker": "ZBAD", "title": "odd"}
    exchange.markets[ticker] = {**exchange.markets["ZBAD-1-A"], "ticker": ticker}
    exchange.markets[ticker]["event_ticker"] = ticker
    await repair()
    assert (await repair.rows("events"))[ticker]["title"] == "odd"
    assert (await repair.rows("markets"))[ticker]["event_ticker"] == ticker
    exchange.markets[ticker]["title"] = "asked for"
    repair.resolver.add(Outcome(incomplete={ticker, "ZGOOD-1-A"}, incomplete_events={ticker}))
    while repair.resolver.waiting:
        await repair.resolver.ask()
        await asyncio.sleep(0.01)
    assert (await repair.rows("markets"))[ticker]["title"] == "asked for"


async def test_the_service_repairs_beside_a_series_that_cannot_be_read(
    connection: Connection,
    exchange: Exchange,
    base_url: str,
    start_service: Callable[..., Awaitable[Any]],
) -> None:
    exchange.series["ZBAD"]["tags"] = ["a", None]
    exchange.series["ZGOOD"] = {"ticker": None}
    service = await start_service(
        None, key=False, KALSHI_BASE_URL=base_url, LIFECYCLE_POLL_SECONDS="0.2"
    )
    await service.ready()
    cursor = await connection.execute("SELECT count(*) FROM markets")
    assert await cursor.fetchone() == (4,)
    assert '"series": "ZGOOD"' in service.logs()
