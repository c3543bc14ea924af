"""/ui/markets/{ticker}: everything that is known of one market."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from aiohttp import web
from multidict import MultiDict

from ssmd_api import context, feeschedule, rows, shapes
from ssmd_api.context import Context
from ssmd_api.forms import COUNT, PRICE
from ssmd_api.marketdata import Market
from ssmd_api.parameters import LARGEST, Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.rows import Row
from ssmd_api.store import Store
from ssmd_api.ui import life, marketdata, places
from ssmd_api.ui.changed import shown_versions
from ssmd_api.ui.frame import Live, render, unit
from ssmd_api.ui.texts import Unit
from ssmd_common import tables
from ssmd_common.keys import Keys
from ssmd_stream.subjects import token

_STEPS: Final = 500
_VERSIONS: Final = 30
_DEFAULT_TIER: Final = "default"
_DEFAULT_COUNT: Final = "100"
_FORM: Final = ("price", "count", "tier")


@dataclass(frozen=True, slots=True)
class Fee:
    """What a fill costs by the step of the schedule that is in force; `problem` says why not."""

    price: str
    count: str
    tier: str
    tiers: list[str]
    step: Row | None
    cost: Row | None
    problem: str = ""


async def show(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    said = places.given(request.query)
    given = Parameters(places.given(request.query, *_FORM), now)
    at = given.as_of()
    given.done()
    ticker = named(request, "ticker", "market")
    service = context.of(request)
    async with service.store.as_of(at) as store:
        market = await store.market(ticker, shapes.ONE_MARKET)
        if market is None:
            raise not_found("market", ticker)
        names = Market(ticker, market["series_ticker"], market["event_ticker"])
        captured = marketdata.begin(request, names) if at is None else None
        fee = await _fee(store, market, said, unit(request), at or now)
    log = await service.store.lifecycle(ticker, 0, _STEPS, tables.LIFECYCLE)
    past, coming = life.steps(market, log or [], at or now)
    found = await service.store.versions(tables.MARKETS, ticker, LARGEST, _VERSIONS + 1)
    as_of = await service.freshness.as_of([market]) if at is None else None
    query = MultiDict(table="markets", market=ticker, fields="ticker")
    return render(
        request,
        "market.html",
        title=market["title"] or ticker,
        as_of=at,
        has_past=True,
        live=Live(stream=places.address("", query)[1:], every_seconds=60),
        said=said,
        market=market,
        event=market["event"],
        series=market["series"],
        past=past,
        coming=coming,
        versions=shown_versions(tables.MARKETS, (found or [])[:_VERSIONS]),
        more_versions=len(found or []) > _VERSIONS,
        record_begins=await service.store.record_begins(),
        fee=fee,
        fresh_as_of=as_of,
        data=captured and await marketdata.seen(request, captured),
        raw=_pretty(shapes.ONE_MARKET.pick(market)),
        names=_names(service, market),
        links=_links(market),
    )


async def _fee(store: Store, market: Row, said: MultiDict[str], shown: Unit, at: datetime) -> Fee:
    series, event = market["series"], market["event"]
    schedule = feeschedule.complete(await store.fee_schedule(series["ticker"]), series)
    step = feeschedule.in_force(schedule, at)
    if event["fee_type_override"] is not None:
        step = {
            **(step or {}),
            "fee_type": event["fee_type_override"],
            "fee_multiplier": event["fee_multiplier_override"],
        }
    tiers = await store.fee_tiers()
    names = [tier["tier"] for tier in tiers]
    tier = said.get("tier", _DEFAULT_TIER)
    count = said.get("count", _DEFAULT_COUNT)
    price = said.get("price") or _usual_price(market, shown)
    made = [each for each in tiers if each["tier"] == tier]
    dollars = _dollars(price, shown)
    problem, cost = "", None
    if dollars is None:
        problem = "A price is from 0 to " + ("100 cents." if shown == "cents" else "1 dollar.")
    elif not COUNT.fullmatch(count):
        problem = "A count is a number of contracts, such as 100 or 2.5."
    elif not made:
        problem = f"There is no tier {tier}."
    else:
        cost = feeschedule.cost(step, made[0], dollars, Decimal(count))
    return Fee(price, count, tier, names, step, cost, problem)


def _usual_price(market: Row, shown: Unit) -> str:
    quoted = (market[name] for name in ("yes_ask_dollars", "last_price_dollars"))
    inside = (Decimal(str(each)) for each in quoted if each is not None)
    dollars = next((each for each in inside if 0 < each < 1), Decimal("0.5"))
    return f"{(dollars * 100 if shown == 'cents' else dollars).normalize():f}"


def _dollars(price: str, shown: Unit) -> Decimal | None:
    """What is meant by a price as the reader's unit has it; None where it is none."""
    try:
        value = Decimal(price)
        value = value / 100 if shown == "cents" else value
        text = f"{value:f}"
    except (InvalidOperation, ValueError):
        return None
    return value if PRICE.fullmatch(text) else None


def _names(service: Context, market: Row) -> list[tuple[str, str]]:
    """What others find the market by."""
    series, event, ticker = market["series_ticker"], market["event_ticker"], market["ticker"]
    keys = Keys(service.settings.redis_key_prefix)
    subject = ".".join(("cdc.markets.*", token(series), token(event), token(ticker)))
    return [
        ("changes on NATS", subject),
        ("key in Redis", keys.market(series, event, ticker)),
        ("API", f"/v1/markets/{quote(ticker, safe='')}"),
        ("stream of the API", f"/v1/changes?market={quote(ticker, safe='')}"),
        ("command", f"ssmd secmaster show {ticker}"),
    ]


def _links(market: Row) -> list[tuple[str, str]]:
    """Where more is said, elsewhere: only what a browser may follow."""
    series = market["series"]
    found = [("the exchange", f"https://kalshi.com/markets/{quote(series['ticker'].lower())}")]
    if series["contract_url"]:
        found.append(("contract terms", series["contract_url"]))
    sources = (each for each in series["settlement_sources"] or () if isinstance(each, dict))
    found += [
        (str(each.get("name") or "settlement source"), str(each.get("url"))) for each in sources
    ]
    return [(name, url) for name, url in found if is_web(url)]


def is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _pretty(row: Any) -> str:
    return msgspec.json.format(rows.encode(row), indent=2).decode()
