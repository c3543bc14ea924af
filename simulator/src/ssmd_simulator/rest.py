"""The market-data endpoints under /trade-api/v2."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ssmd_simulator import maintenance, reference
from ssmd_simulator.budget import BURST_SECONDS, DEFAULT_COST, ENDPOINT_COSTS, Budget
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.floor import Floor
from ssmd_simulator.listing import (
    BadRequest,
    Query,
    events_page,
    historical_page,
    markets_page,
)
from ssmd_simulator.multivariate import collection_row, collections_page
from ssmd_simulator.parents import event_bytes, series_bytes
from ssmd_simulator.rendering import Renderer
from ssmd_simulator.replies import PREFIX, VIEW, NotFound, encoded, reply
from ssmd_simulator.settings import Settings
from ssmd_simulator.signatures import Keyring
from ssmd_simulator.universe import Event, FeeChange, Market, Series
from ssmd_simulator.wire import rfc3339


@dataclass(frozen=True, slots=True)
class Call:
    """A request, its query, and the moment it is answered for."""

    request: web.Request
    query: Query
    now: float


class Rest:
    """Answers from the exchange's truth at the moment of the request."""

    def __init__(
        self,
        exchange: Exchange,
        renderer: Renderer,
        settings: Settings,
        budget: Budget,
        keys: Keyring,
        floor: Floor,
    ) -> None:
        self._exchange = exchange
        self._floor = floor
        self._universe = exchange.universe
        self._renderer = renderer
        self._settings = settings
        self._budget = budget
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        """Every endpoint, guarded."""
        table: dict[str, Callable[[Call], web.Response]] = {
            "/series": self._series_list,
            "/series/fee_changes": self._series_fee_changes,
            "/series/{ticker}": self._series_one,
            "/events": self._events,
            "/events/fee_changes": self._event_fee_changes,
            "/events/multivariate": self._multivariate_events,
            "/events/{ticker}": self._event,
            "/events/{ticker}/metadata": self._event_metadata,
            "/multivariate_event_collections": self._collections,
            "/multivariate_event_collections/{ticker}": self._collection,
            "/markets": self._markets,
            "/markets/trades": self._trades,
            "/markets/orderbooks": self._orderbooks,
            "/markets/{ticker}": self._market,
            "/markets/{ticker}/orderbook": self._orderbook,
            "/historical/trades": self._historical_trades,
            "/historical/cutoff": self._cutoff,
            "/historical/markets": self._historical_markets,
            "/historical/markets/{ticker}": self._historical_market,
            "/search/tags_by_categories": self._tags,
            "/search/filters_by_sport": self._sports,
            "/exchange/status": self._status,
            "/exchange/schedule": self._schedule,
            "/account/endpoint_costs": self._costs,
            "/account/limits": self._limits,
        }
        return [web.get(PREFIX + path, self._guarded(path, do)) for path, do in table.items()]

    def _guarded(
        self, path: str, answer: Callable[[Call], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            caller = request.headers.get("KALSHI-ACCESS-KEY", "")
            if not self._budget.allows(caller, path):
                # No Retry-After: the exchange does not say when.
                return encoded({"error": "too many requests"}, 429)
            now = self._exchange.clock()
            self._exchange.advance(now)
            self._renderer.flipped = {}
            view = request.get(VIEW)
            if view is not None:
                self._renderer.flipped = view.flipped
                now = min(now, view.at)
            try:
                return answer(Call(request, Query(request.query), now))
            except BadRequest as error:
                body = {"code": "bad_request", "message": "bad request", "details": str(error)}
                return encoded(body, 400)
            except NotFound:
                body = {"code": "not_found", "message": "not found", "details": ""}
                # Two shapes of the same error: the historical tier has the flat one.
                return encoded(body if path.startswith("/historical") else {"error": body}, 404)

        return handle

    @property
    def cutoff(self) -> float:
        """Markets settled before this are historical."""
        return self._exchange.clock() - self._settings.retention

    # --- series -----------------------------------------------------------------------------

    def _series_list(self, call: Call) -> web.Response:
        category, tags = call.query.text("category"), set(call.query.names("tags"))
        updated = call.query.integer("min_updated_ts")
        volume = call.query.flag("include_volume")
        metadata = call.query.flag("include_product_metadata")

        def wanted(series: Series) -> bool:
            if category and category not in (series.category, *series.more_categories):
                return False
            if tags and tags.isdisjoint(series.tags or ()):
                return False
            return updated is None or (series.updated or 0.0) > updated

        chosen = [s for s in self._universe.series.values() if wanted(s)]
        pieces = [series_bytes(s, volume=volume, metadata=metadata) for s in chosen]
        return reply(b'{"series":[' + b",".join(pieces) + b"]}")

    def _series_one(self, call: Call) -> web.Response:
        series = self._universe.series.get(call.request.match_info["ticker"])
        if series is None:
            raise NotFound
        return reply(
            b'{"series":' + series_bytes(series, volume=call.query.flag("include_volume")) + b"}"
        )

    def _series_fee_changes(self, call: Call) -> web.Response:
        ticker, past = call.query.text("series_ticker"), call.query.flag("show_historical")
        changes = [
            {
                "id": change.id,
                "series_ticker": series.ticker,
                "fee_type": change.fee_type,
                "fee_multiplier": change.multiplier,
                "scheduled_ts": rfc3339(change.scheduled),
            }
            for series in self._universe.series.values()
            for change in series.fee_changes
            if (not ticker or series.ticker == ticker) and (past or change.scheduled > call.now)
        ]
        return encoded({"series_fee_change_arr": changes})

    # --- events -----------------------------------------------------------------------------

    def _nested(self, event: Event, now: float) -> bytes:
        live = self._live(event)
        if all(market.status(now) == "finalized" for market in live):
            # The exchange brings no markets inside events that are settled.
            return b"[]"
        return self._renderer.markets(live, now)

    def _live(self, event: Event) -> list[Market]:
        cutoff = self.cutoff
        return [market for market in event.markets if market.life.settled >= cutoff]

    def _event_list(self, events: list[Event], cursor: str, query: Query, now: float) -> bytes:
        nested = query.flag("with_nested_markets")
        pieces = [event_bytes(e, self._nested(e, now) if nested else None) for e in events]
        return b'"events":[' + b",".join(pieces) + b'],"cursor":"' + cursor.encode() + b'"}'

    def _events(self, call: Call) -> web.Response:
        events, cursor = events_page(self._universe, call.query, call.now)
        return reply(b'{"milestones":[],' + self._event_list(events, cursor, call.query, call.now))

    def _multivariate_events(self, call: Call) -> web.Response:
        events, cursor = events_page(self._universe, call.query, call.now, multivariate=True)
        return reply(b"{" + self._event_list(events, cursor, call.query, call.now))

    def _collections(self, call: Call) -> web.Response:
        found, cursor = collections_page(self._universe, call.query, call.now)
        rows = [collection_row(each) for each in found]
        return encoded({"multivariate_contracts": rows, "cursor": cursor})

    def _collection(self, call: Call) -> web.Response:
        found = self._universe.collections.get(call.request.match_info["ticker"])
        if found is None:
            raise NotFound
        return encoded({"multivariate_contract": collection_row(found)})

    def _known_event(self, request: web.Request) -> Event:
        event = self._universe.events.get(request.match_info["ticker"])
        if event is None:
            raise NotFound
        return event

    def _event(self, call: Call) -> web.Response:
        event = self._known_event(call.request)
        markets = self._renderer.markets(self._live(event), call.now)
        if call.query.flag("with_nested_markets"):
            return reply(b'{"event":' + event_bytes(event, markets) + b',"markets":[]}')
        return reply(b'{"event":' + event_bytes(event) + b',"markets":' + markets + b"}")

    def _event_metadata(self, call: Call) -> web.Response:
        event = self._known_event(call.request)
        image = f"/series-images-webp/{event.series.ticker}.webp"
        details = [
            {"market_ticker": m.ticker, "image_url": image, "color_code": f"#{m.seed % 2**24:06X}"}
            for m in event.markets
        ]
        return encoded(
            {
                "image_url": image,
                "market_details": details,
                "settlement_sources": event.series.sources or [],
            }
        )

    def _event_fee_changes(self, call: Call) -> web.Response:
        limit = call.query.limit(100, 1000)
        ticker = call.query.text("event_ticker")
        rows: list[tuple[Event, FeeChange]] = sorted(
            (
                (event, change)
                for event in self._universe.events.values()
                if event.fee_changes and (not ticker or event.ticker == ticker)
                for change in event.fee_changes
            ),
            key=lambda row: row[1].id,
        )
        start = call.query.text("cursor")
        rows = [row for row in rows if row[1].id > start]
        changes = [
            {
                "id": change.id,
                "event_ticker": event.ticker,
                "series_ticker": event.series.ticker,
                "fee_type_override": change.fee_type,
                "fee_multiplier_override": change.multiplier,
                "scheduled_ts": rfc3339(change.scheduled),
            }
            for event, change in rows[:limit]
        ]
        cursor = rows[limit - 1][1].id if len(rows) > limit else ""
        return encoded({"event_fee_changes": changes, "cursor": cursor})

    # --- markets ----------------------------------------------------------------------------

    def _market_list(self, markets: list[Market], cursor: str, now: float) -> web.Response:
        after = b',"cursor":"' + cursor.encode() + b'"}'
        return reply(self._renderer.markets(markets, now, b'{"markets":', after))

    def _markets(self, call: Call) -> web.Response:
        markets, cursor = markets_page(self._universe, call.query, call.now, self.cutoff)
        return self._market_list(markets, cursor, call.now)

    def _historical_markets(self, call: Call) -> web.Response:
        markets, cursor = historical_page(self._universe, call.query, self.cutoff)
        return self._market_list(markets, cursor, call.now)

    def _market(self, call: Call) -> web.Response:
        market = self._universe.markets.get(call.request.match_info["ticker"])
        if market is None or market.life.settled < self.cutoff:
            raise NotFound
        if call.now < market.life.created + self._settings.creation_lag:
            # Announced already, not yet here.
            raise NotFound
        return reply(b'{"market":' + self._renderer.market(market, call.now) + b"}")

    def _historical_market(self, call: Call) -> web.Response:
        market = self._universe.markets.get(call.request.match_info["ticker"])
        if market is None or market.life.settled >= self.cutoff:
            raise NotFound
        return reply(b'{"market":' + self._renderer.market(market, call.now) + b"}")

    # --- trades and books -------------------------------------------------------------------

    def _trade_page(self, call: Call, earliest: float, latest: float) -> web.Response:
        page = self._floor.tape.page(call.query, earliest, latest)
        rows = [self._floor.tape.row(trade) for trade in page.trades]
        return encoded({"trades": rows, "cursor": page.cursor})

    def _trades(self, call: Call) -> web.Response:
        return self._trade_page(call, self.cutoff, call.now - self._settings.trade_lag)

    def _historical_trades(self, call: Call) -> web.Response:
        return self._trade_page(call, 0.0, self.cutoff)

    def _book(self, market: Market, depth: int) -> dict[str, list[list[str]]]:
        trading = self._floor.of(market)
        most = depth if depth > 0 else None
        return {f"{side}_dollars": trading.levels(side)[:most] for side in ("yes", "no")}

    def _orderbooks(self, call: Call) -> web.Response:
        tickers = call.request.query.getall("tickers", [])
        if not 1 <= len(tickers) <= 100:
            raise BadRequest("tickers must have 1 to 100 entries")
        known = [self._universe.markets[t] for t in tickers if t in self._universe.markets]
        rows = [{"ticker": m.ticker, "orderbook_fp": self._book(m, 0)} for m in known]
        return encoded({"orderbooks": rows})

    def _orderbook(self, call: Call) -> web.Response:
        market = self._universe.markets.get(call.request.match_info["ticker"])
        if market is None:
            raise NotFound
        return encoded({"orderbook_fp": self._book(market, call.query.integer("depth") or 0)})

    def _cutoff(self, _: Call) -> web.Response:
        at = rfc3339(self.cutoff)
        names = ("market_settled_ts", "trades_created_ts", "orders_updated_ts")
        return encoded(dict.fromkeys((*names, "market_positions_last_updated_ts"), at))

    # --- the exchange itself ----------------------------------------------------------------

    def _tags(self, _: Call) -> web.Response:
        return encoded({"tags_by_categories": reference.tags_by_categories()})

    def _sports(self, _: Call) -> web.Response:
        return encoded(reference.filters_by_sport())

    def _status(self, call: Call) -> web.Response:
        return encoded(reference.status(trading=not maintenance.is_on(call.now)))

    def _schedule(self, _: Call) -> web.Response:
        return encoded(reference.schedule())

    def _costs(self, _: Call) -> web.Response:
        own = [
            {"method": "GET", "path": PREFIX + path, "cost": int(cost)}
            for path, cost in self._budget.costs.items()
        ]
        return encoded({"default_cost": DEFAULT_COST, "endpoint_costs": ENDPOINT_COSTS + own})

    def _limits(self, call: Call) -> web.Response:
        why = self._keys.refusal(call.request.headers, "GET", call.request.path, call.now)
        if why is not None:
            return encoded({"error": {"code": "unauthorized", "message": why}}, 401)
        rate = int(self._budget.rate) or 1_000_000
        bucket = {"refill_rate": rate, "bucket_capacity": rate * BURST_SECONDS}
        tiers = {200: "basic", 300: "advanced", 600: "expert", 1200: "premier"}
        tier = tiers.get(rate, "prestige")
        return encoded({"usage_tier": tier, "read": bucket, "write": bucket, "grants": []})
