"""The control port's endpoints, /control/…: what a test may do to the exchange."""

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import msgspec
from aiohttp import web

from ssmd_simulator.exchange import Exchange
from ssmd_simulator.faults import Fault, Faults
from ssmd_simulator.floor import Floor
from ssmd_simulator.life import Timetable
from ssmd_simulator.multivariate import collection_of
from ssmd_simulator.replies import encoded
from ssmd_simulator.rng import mix
from ssmd_simulator.scripted import ScriptedMarket, describe, timetable
from ssmd_simulator.tickers import day_code, eastern
from ssmd_simulator.universe import Event, Market, Series
from ssmd_simulator.websocket import Hub
from ssmd_simulator.wire import rfc3339


class Control:
    """Creates markets with a chosen timetable, edits them, and breaks things."""

    def __init__(self, exchange: Exchange, hub: Hub, faults: Faults, floor: Floor) -> None:
        self._exchange = exchange
        self._floor = floor
        self._universe = exchange.universe
        self._hub = hub
        self._faults = faults
        self._scripts = 0

    def routes(self) -> list[web.RouteDef]:
        """Every endpoint."""
        market = "/control/markets/{ticker}"
        event = "/control/events/{ticker}"
        return [
            web.get("/control/state", self._answer(self._state)),
            web.get(market, self._answer(self._describe)),
            web.post("/control/markets", self._answer(self._create)),
            web.patch(market, self._answer(self._edit)),
            web.delete(market, self._answer(self._vanish)),
            web.post(market + "/{deed}", self._answer(self._deed)),
            web.patch(event, self._answer(self._edit_event)),
            web.post(event + "/fee", self._answer(self._fee)),
            web.put("/control/series/{ticker}", self._answer(self._put_series)),
            web.post("/control/disconnect", self._answer(self._disconnect)),
            web.post("/control/half_open", self._answer(self._half_open)),
            web.post("/control/trading", self._answer(self._trading)),
            web.get("/control/faults", self._answer(self._list_faults)),
            web.post("/control/faults", self._answer(self._set_fault)),
            web.delete("/control/faults", self._answer(self._clear_faults)),
            web.delete("/control/faults/{id}", self._answer(self._clear_faults)),
        ]

    def _answer(
        self, do: Callable[[web.Request, Any], Any]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            raw = await request.read()
            self._exchange.advance(self._exchange.clock())
            try:
                return encoded(do(request, msgspec.json.decode(raw) if raw else {}))
            except KeyError as error:
                return encoded({"error": f"there is no {error.args[0]}"}, 404)
            except (ValueError, TypeError) as error:
                return encoded({"error": str(error)}, 400)

        return handle

    # --- markets ----------------------------------------------------------------------------

    def script(self, script: ScriptedMarket) -> list[Market]:
        """Create an event's worth of markets now, with their timetable."""
        now = self._exchange.clock()
        self._exchange.advance(now)
        self._scripts += 1
        life = timetable(script, now)
        event = self._universe.events.get(script.event or "")
        fresh = event is None
        if event is None:
            event = self._new_event(script, life)
        markets = []
        for rank in range(script.count):
            ticker = script.ticker or f"{event.ticker}-{len(event.markets) + rank + 1}"
            if script.ticker and rank:
                ticker = f"{script.ticker}{rank + 1}"
            if ticker in self._universe.markets:
                raise ValueError(f"market {ticker} exists already; choose another ticker")
            strike = None if script.strike is None else script.strike + rank
            markets.append(
                Market(
                    ticker=ticker,
                    event=event,
                    label=f"Answer {rank + 1}" if strike is None else f"Above {strike:g}",
                    life=life,
                    seed=mix(self._universe.seed_for(ticker)),
                    structure="deci_cent",
                    strike_type="" if strike is None else "greater",
                    floor=strike,
                    custom=self._legs(event, script.legs) if script.legs else None,
                    result=script.result,
                    lively=True,
                    updated=life.created,
                    provisional=script.provisional,
                )
            )
        if fresh:
            event.markets = list(markets)
            self._exchange.create_event(event, now)
        else:
            for market in markets:
                self._exchange.create_market(market, now)
            self._exchange.watch_life(event, life, now)
        return markets

    def _new_event(self, script: ScriptedMarket, life: Timetable) -> Event:
        series = self._universe.series.get(script.series)
        if series is None:
            series = self._universe.add_series(
                Series(
                    script.series, f"{script.series} on demand", script.category, None, "custom",
                    updated=life.created,
                )
            )  # fmt: skip
        when = eastern(life.created)
        name = (
            script.event or f"{series.ticker}-{day_code(life.created)}{when:%H%M%S}{self._scripts}"
        )
        title = script.title or f"What will {series.ticker} say at {when:%H:%M:%S}?"
        return Event(
            ticker=name,
            series=series,
            title=title,
            sub_title=f"{when:%b} {when.day}",
            question=f"{title} {{}}",
            category=series.category,
            template="entity_menu",
            page_key=life.close,
            strike_at=life.close,
            created=life.created,
            updated=life.created,
            multivariate=script.multivariate,
            collection=f"{series.ticker}-R" if script.multivariate else "",
        )

    def _legs(self, event: Event, legs: list[str]) -> dict[str, str]:
        """How a combination of these markets names them; its collection has their events."""
        collection = collection_of(
            self._universe, event.collection, event.series, self._exchange.clock()
        )
        known = [self._universe.markets.get(leg) for leg in legs]
        events = [m.event.ticker if m else leg for m, leg in zip(known, legs, strict=True)]
        collection.events.update(dict.fromkeys(events))
        return {"Associated Events": ",".join(events), "Associated Markets": ",".join(legs)}

    def _create(self, _: web.Request, body: Any) -> Any:
        markets = self.script(msgspec.convert(body, ScriptedMarket))
        now = self._exchange.clock()
        described = [describe(market, now) for market in markets]
        return {**described[0], "markets": described}

    def _market(self, request: web.Request) -> Market:
        ticker = request.match_info["ticker"]
        if ticker not in self._universe.markets:
            raise KeyError(f"market {ticker}")
        return self._universe.markets[ticker]

    def _describe(self, request: web.Request, _: Any) -> Any:
        return describe(self._market(request), self._exchange.clock())

    def _edit(self, request: web.Request, body: Any) -> Any:
        market = self._market(request)
        self._exchange.edit(market, dict(body), self._exchange.clock())
        return describe(market, self._exchange.clock())

    def _vanish(self, request: web.Request, _: Any) -> Any:
        market = self._market(request)
        self._exchange.vanish(market)
        return {"gone": market.ticker}

    def _deed(self, request: web.Request, body: Any) -> Any:
        market, now = self._market(request), self._exchange.clock()
        exchange = self._exchange
        match request.match_info["deed"]:
            case "pause":
                exchange.pause(market, now)
            case "unpause":
                exchange.unpause(market, now)
            case "close":
                exchange.move_close(market, float(int(now + body.get("close_in", 0))), now)
            case "determine":
                result, settle_in = body.get("result", "yes"), body.get("settle_in")
                wait = inf if settle_in is None else float(settle_in)
                exchange.determine(market, result, wait, now)
            case "settle":
                exchange.settle(market, now)
            case "dispute":
                exchange.contest(market, "disputed", now)
            case "amend":
                exchange.contest(market, "amended", now, body.get("result", ""))
            case "trade":
                exchange.trade(market)
            case other:
                raise ValueError(f"cannot {other} a market; see the control API")
        return describe(market, now)

    # --- events, series, connections --------------------------------------------------------

    def _known_event(self, request: web.Request) -> Event:
        ticker = request.match_info["ticker"]
        if ticker not in self._universe.events:
            raise KeyError(f"event {ticker}")
        return self._universe.events[ticker]

    def _edit_event(self, request: web.Request, body: Any) -> Any:
        event = self._known_event(request)
        self._exchange.edit_event(event, dict(body), self._exchange.clock())
        return {"event_ticker": event.ticker}

    def _fee(self, request: web.Request, body: Any) -> Any:
        event = self._known_event(request)
        kind = body.get("fee_type")
        fee = None if kind is None else (str(kind), float(body.get("fee_multiplier", 1)))
        self._exchange.override_fee(event, fee, self._exchange.clock())
        return {"event_ticker": event.ticker}

    def _put_series(self, request: web.Request, body: Any) -> Any:
        ticker = request.match_info["ticker"]
        self._exchange.put_series(ticker, dict(body), self._exchange.clock())
        return {"series_ticker": ticker}

    def _disconnect(self, _: web.Request, body: Any) -> Any:
        return {"connections": self._hub.disconnect(int(body.get("code", 1001)))}

    def _half_open(self, _: web.Request, __: Any) -> Any:
        return {"connections": self._hub.half_open()}

    def _trading(self, _: web.Request, body: Any) -> Any:
        self._floor.set_rate(float(body["rate"]))
        self._hub.flush()
        return {"rate": self._floor.rate, "made": self._floor.made, "trades": len(self._floor.tape)}

    def _list_faults(self, _: web.Request, __: Any) -> Any:
        return {"faults": self._faults.active}

    def _set_fault(self, _: web.Request, body: Any) -> Any:
        return self._faults.start(msgspec.convert(body, Fault))

    def _clear_faults(self, request: web.Request, _: Any) -> Any:
        number = request.match_info.get("id")
        return {"cleared": self._faults.clear(None if number is None else int(number))}

    def _state(self, _: web.Request, __: Any) -> Any:
        now = self._exchange.clock()
        counts: dict[str, int] = {}
        for market in self._universe.markets.values():
            status = market.status(now)
            counts[status] = counts.get(status, 0) + 1
        return {
            "now": rfc3339(now),
            "series": len(self._universe.series),
            "events": len(self._universe.events),
            "markets": counts,
            "messages": self._exchange.sent,
            "connections": len(self._hub.connections),
        }
