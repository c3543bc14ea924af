"""The exchange at work: what is due happens, the truth changes, and messages say so.

Everything that is due by a time is done by `advance(now)`, in order. REST calls it before it
answers, so that a reply is the truth of its moment, and a task calls it so that messages go out.
"""

from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from ssmd_simulator import messages
from ssmd_simulator.life import Timetable
from ssmd_simulator.messages import Message
from ssmd_simulator.universe import Event, FeeChange, Market, Series, Universe

Listener = Callable[[Message], None]
Deed = Callable[[float], None]

ANNOUNCED_EDITS = frozenset(
    {"strike_type", "floor_strike", "cap_strike", "custom_strike", "yes_sub_title"}
)
"""Edits that bring a `metadata_updated`; all others, titles and rules included, are silent."""

_FEE_FIELDS = frozenset({"fee_type", "fee_multiplier"})
_SERIES_FIELDS = _FEE_FIELDS | {"title", "category", "tags", "frequency", "volume"}


class Exchange:
    """Changes the universe as time passes or on demand, and tells the listeners."""

    def __init__(self, universe: Universe, clock: Callable[[], float]) -> None:
        self.universe = universe
        self.clock = clock
        self.listeners: list[Listener] = []
        self.sent: dict[str, int] = {}
        self.on_trade: Callable[[Market], None] | None = None
        self._agenda: list[tuple[float, int, Deed]] = []
        self._order = count()

    # --- time -------------------------------------------------------------------------------

    @property
    def next_due(self) -> float:
        """When something will happen next; `inf` if nothing will."""
        return self._agenda[0][0] if self._agenda else inf

    def at(self, when: float, deed: Deed) -> None:
        """Have `deed(when)` done at `when`."""
        if when < inf:
            heappush(self._agenda, (when, next(self._order), deed))

    def advance(self, now: float) -> None:
        """Do what is due by `now`, in order."""
        while self._agenda and self._agenda[0][0] <= now:
            when, _, deed = heappop(self._agenda)
            deed(when)

    def watch(self, event: Event, now: float) -> None:
        """Put the determinations and settlements of an event's markets on the agenda."""
        for life in {id(m.life): m.life for m in event.markets}.values():
            self.watch_life(event, life, now)

    def watch_life(self, event: Event, life: Timetable, now: float) -> None:
        """Put one timetable's determination and settlement on the agenda."""
        if life.determined > now:
            self.at(life.determined, lambda when: self._determine(event, life, when))
        if life.settled > now:
            self.at(life.settled, lambda when: self._settle(event, life, when))

    def _determine(self, event: Event, life: Timetable, when: float) -> None:
        for market in event.markets:
            if market.life is life:
                market.paused = False
                self._tell(messages.determined(market, when))

    def _settle(self, event: Event, life: Timetable, when: float) -> None:
        for market in list(event.markets):
            if market.life is not life:
                continue
            self.universe.settle(market)
            self._tell(messages.settled(market, when))
            if market.provisional:
                # Nobody traded it: after its determination the exchange removes it.
                self.at(when + 5, lambda _, gone=market: self.vanish(gone))  # type: ignore[misc]

    # --- creation ---------------------------------------------------------------------------

    def create_event(self, event: Event, now: float) -> None:
        """Announce a new event and each of its markets, and let them live."""
        markets, event.markets = event.markets, []
        self.universe.add_event(event)
        self._tell(messages.event_lifecycle(event, now))
        for market in markets:
            self.create_market(market, now)
        self.watch(event, now)

    def create_market(self, market: Market, now: float) -> None:
        """Announce a new market of a known event (put it on the agenda with `watch`)."""
        self.universe.add_market(market, now)
        self._tell(messages.created(market, now))

    # --- what happens to a market -----------------------------------------------------------

    def pause(self, market: Market, now: float) -> None:
        """Pause trading: `deactivated`, status inactive."""
        market.paused = True
        self._touch(market, now)
        self._tell(messages.deactivated(market, now))

    def unpause(self, market: Market, now: float) -> None:
        """Trade again: `activated`, status active."""
        market.paused = False
        self._touch(market, now)
        self._tell(messages.activated(market, now))

    def move_close(self, market: Market, close: float, now: float) -> None:
        """Close at another time; what comes after keeps its distance."""
        shift = close - market.life.close
        self._relive(
            market,
            now,
            close=close,
            determined=max(market.life.determined + shift, close),
            settled=max(market.life.settled + shift, close),
        )
        self._tell(messages.close_date_updated(market, now))

    def determine(self, market: Market, result: str, settle_in: float, now: float) -> None:
        """Determine now; a market that is still open closes now, and says so first."""
        market.result = result
        early = market.life.close > now
        close = float(int(now)) if early else market.life.close
        self._relive(market, now, close=close, determined=now, settled=now + settle_in)
        if early:
            self._tell(messages.close_date_updated(market, now))
        market.paused = False
        self._tell(messages.determined(market, now))

    def settle(self, market: Market, now: float) -> None:
        """Settle now what is determined."""
        self._relive(market, now, settled=now)
        self.universe.settle(market)
        self._tell(messages.settled(market, now))

    def contest(self, market: Market, word: str, now: float, result: str = "") -> None:
        """Dispute (`disputed`), amend (`amended`) or neither (''): no message exists for it.

        An amendment may bring another result.
        """
        market.contested = word
        market.result = result or market.result
        self._touch(market, now)

    def edit(self, market: Market, changed: dict[str, Any], now: float) -> None:
        """Change fields of a market as the exchange's JSON names them."""
        structure = changed.pop("price_level_structure", None)
        market.edits = {**(market.edits or {}), **changed}
        announced = {key: value for key, value in changed.items() if key in ANNOUNCED_EDITS}
        if structure is not None:
            market.structure = structure
        self._touch(market, now)
        if announced:
            self._tell(messages.metadata_updated(market, now, announced))
        if structure is not None:
            self._tell(messages.price_level_structure_updated(market, now))

    def trade(self, market: Market) -> None:
        """Another quote and more volume, which is no non-trading change: `updated_time` stays."""
        market.trades += 1
        market.rendered_until = 0.0
        if self.on_trade is not None:
            self.on_trade(market)

    def vanish(self, market: Market) -> None:
        """Remove a market without a word."""
        if market.ticker in self.universe.markets:
            self.universe.remove_market(market)

    def override_fee(self, event: Event, fee: tuple[str, float] | None, now: float) -> None:
        """Set or clear an event's fee override."""
        event.fee_override = fee
        event.updated, event.rendered = now, None
        kind, multiplier = fee or (None, None)
        name = f"{event.ticker}-fee-{len(event.fee_changes) + 1}"
        event.fee_changes.append(FeeChange(name, kind, multiplier, now))
        self._tell(messages.event_fee_update(event, now))

    def edit_event(self, event: Event, changed: dict[str, Any], now: float) -> None:
        """Change an event's title, subtitle or category; no message exists for it."""
        for field, value in changed.items():
            if field not in ("title", "sub_title", "category", "mutually_exclusive"):
                raise ValueError(f"an event's {field} cannot be changed")
            setattr(event, field, value)
        event.updated, event.rendered = now, None

    def put_series(self, ticker: str, changed: dict[str, Any], now: float) -> Series:
        """Change a series, or make it known; a changed fee is in force and among its changes."""
        for field in changed:
            if field not in _SERIES_FIELDS:
                raise ValueError(f"a series' {field} cannot be changed")
        series = self.universe.series.get(ticker)
        if series is None:
            series = self.universe.add_series(Series(ticker, ticker, "World", None, "custom"))
        for field, value in changed.items():
            setattr(series, field, value)
        if changed.keys() & _FEE_FIELDS:
            name = f"{ticker}-{len(series.fee_changes) + 1}"
            change = FeeChange(name, series.fee_type, series.fee_multiplier, now)
            series.fee_changes.append(change)
        series.updated = now
        return series

    # --- inside -----------------------------------------------------------------------------

    def _relive(self, market: Market, now: float, **moments: float) -> None:
        market.life = replace(market.life, **moments)
        self._touch(market, now)
        self.watch_life(market.event, market.life, now)

    def _touch(self, market: Market, now: float) -> None:
        market.updated = now
        market.forget()

    def _tell(self, message: Message) -> None:
        kind = message.msg.get("event_type", message.type)
        self.sent[kind] = self.sent.get(kind, 0) + 1
        for listener in self.listeners:
            listener(message)
