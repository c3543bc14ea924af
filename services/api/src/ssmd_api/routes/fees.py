"""/v1/fees"""

from datetime import UTC, datetime
from decimal import Decimal

from aiohttp import web

from ssmd_api import asof, bodies, context, feeschedule, quotes
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import Source, reply
from ssmd_api.rows import Row
from ssmd_api.store import Store
from ssmd_api.tierfile import DEFAULT
from ssmd_common.tables import FEES, SERIES, SERIES_FEES
from ssmd_common.times import spelled_moment


async def list_tiers(request: web.Request) -> web.Response:
    """The coefficients of the exchange's formula: of one tier, or of all."""
    given = Parameters(request.query, datetime.now(UTC))
    tier, at = given.text("tier"), given.as_of()
    given.done()
    service = context.of(request)
    async with service.store.as_of(at) as store:
        found = await service.tiers.find(store, tier)
    if tier and not found:
        raise not_found("tier", tier)
    headers = asof.headers(at, FEES)
    return reply(request, {"fees": found}, source="database", headers=headers)


async def show_series_fees(request: web.Request) -> web.Response:
    """A series' schedule, the step in force at `as_of`, and the cost of a fill at a price; by what
    was known at `known_at`."""
    now = datetime.now(UTC)
    given = Parameters(request.query, now)
    as_of = given.moment("as_of")
    known_at = given.as_of("known_at")
    price = given.price("price")
    count = given.count("count")
    tier_name = given.text("tier") or DEFAULT
    if count is not None and "price" not in request.query:
        given.fault("price", "is needed beside count")
    given.done()
    ticker = named(request, "series", "series")
    service = context.of(request)
    async with service.store.as_of(known_at, "known_at") as store:
        source: Source = "cache"
        schedule = await service.cached.fee_schedule(ticker) if known_at is None else None
        if schedule is None:
            source = "database"
            schedule = await _stored_schedule(store, ticker)
        step = feeschedule.in_force(schedule, as_of or known_at or now)
        document = {
            "series_ticker": ticker,
            # Null is now: a time that runs would make each reply another.
            "as_of": as_of and spelled_moment(as_of),
            "in_force": step,
            "schedule": schedule,
        }
        if price is not None:
            contracts = Decimal(1) if count is None else count
            found = await service.tiers.find(store, tier_name)
            if not found:
                raise not_found("tier", tier_name)
            document["fee"] = {
                "price": str(price),
                "count": str(contracts),
                "tier": tier_name,
                "tier_source": found[0]["source"],
                "cost": feeschedule.cost(step, found[0], price, contracts),
            }
    return reply(request, document, source=source, headers=asof.headers(known_at, SERIES_FEES))


async def quote(request: web.Request) -> web.Response:
    """What orders would cost; one whose fee is not known costs that one alone."""
    now = datetime.now(UTC)
    Parameters(request.query, now).done()
    orders, tier_name = quotes.read(await bodies.read(request), now)
    service = context.of(request)
    found = await service.tiers.find(service.store, tier_name)
    if not found:
        raise not_found("tier", tier_name)
    tier = found[0]
    terms = await service.store.fee_terms([order.ticker for order in orders])
    document = {
        "tier": tier_name,
        "tier_source": tier["source"],
        "quotes": [quotes.quote(order, terms.get(order.ticker), tier, now) for order in orders],
    }
    return reply(request, document, source="database")


async def _stored_schedule(store: Store, ticker: str) -> list[Row]:
    series = await store.series(ticker, SERIES)
    if series is None:
        raise not_found("series", ticker)
    return feeschedule.complete(await store.fee_schedule(ticker), series)
