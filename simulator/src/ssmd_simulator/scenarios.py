"""What happens now and then: pauses, moved closes, corrections, early results, new listings.

Only generated markets that live long are touched, never the rolling series and never those that a
control call made, so that whoever follows one of these sees exactly what was asked for.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from ssmd_simulator.exchange import Exchange
from ssmd_simulator.life import Timetable
from ssmd_simulator.rng import mix
from ssmd_simulator.tickers import day_code, eastern
from ssmd_simulator.universe import Market

_MOST_LISTED = 12
_OTHER_STRUCTURE = {"linear_cent": "deci_cent"}


class Scenarios:
    """Makes one scenario every `period` seconds."""

    def __init__(self, exchange: Exchange, period: float) -> None:
        self._exchange = exchange
        self._period = period
        self._rng = Random(exchange.universe.seed)
        self._owed = 0
        self._pool = [m for m in exchange.universe.unsettled if not m.event.multivariate]

    def start(self, now: float) -> None:
        """Schedule the first one."""
        if self._period > 0:
            self._exchange.at(now + self._period, self._happen)

    def _happen(self, when: float) -> None:
        self._exchange.at(when + self._period, self._happen)
        market = self._pick(when)
        if market is None:
            return
        deeds: tuple[Callable[[Market, float], None], ...] = (
            self._pause,
            self._move_close,
            self._correct,
            self._retick,
            self._retitle,
            self._fee,
            self._early,
            self._list,
        )
        deeds[self._rng.randrange(len(deeds))](market, when)

    def _pick(self, when: float) -> Market | None:
        for _ in range(20):
            market = self._rng.choice(self._pool)
            if market.status(when) == "active" and market.life.close > when + 3600:
                return market
        return None

    def _pause(self, market: Market, when: float) -> None:
        self._exchange.pause(market, when)
        ends = when + 3 + self._rng.randrange(12)

        def unpause(at: float) -> None:
            if market.paused and market.status(at) == "inactive":
                self._exchange.unpause(market, at)

        self._exchange.at(ends, unpause)

    def _move_close(self, market: Market, when: float) -> None:
        later = market.life.close + self._rng.choice((3600, 7200, 86400))
        self._exchange.move_close(market, later, when)

    def _correct(self, market: Market, when: float) -> None:
        if market.floor is not None:
            step = self._rng.choice((0.25, 0.5, 1))
            self._exchange.edit(market, {"floor_strike": market.floor + step}, when)
        else:
            self._exchange.edit(market, {"yes_sub_title": f"{market.label} (corrected)"}, when)

    def _retick(self, market: Market, when: float) -> None:
        structure = _OTHER_STRUCTURE.get(market.structure, "linear_cent")
        self._exchange.edit(market, {"price_level_structure": structure}, when)

    def _retitle(self, market: Market, when: float) -> None:
        wording = f"{market.event.question.replace('{}', market.label)} (reworded)"
        self._exchange.edit(market, {"title": wording}, when)

    def _fee(self, market: Market, when: float) -> None:
        fee = None if market.event.fee_override else ("quadratic", 0.5)
        self._exchange.override_fee(market.event, fee, when)

    def _early(self, market: Market, when: float) -> None:
        result = "yes" if mix(market.seed) % 2 else "no"
        self._exchange.determine(market, result, 10, when)
        self._owed += 1

    def _list(self, market: Market, when: float) -> None:
        """A new event in the shape of an old one.

        It lives long if it makes up for markets that were decided early, and minutes otherwise: the
        universe keeps its size.
        """
        old = market.event
        name = f"{old.series.ticker}-{day_code(when)}{eastern(when):%H%M%S}"
        if name in self._exchange.universe.events or len(old.markets) > _MOST_LISTED:
            return
        opened = float(int(when) + 5)
        lasting = len(old.markets) <= self._owed
        self._owed -= len(old.markets) if lasting else 0
        close = opened + (30 * 86400 if lasting else 900)
        life = Timetable(
            round(when, 6), opened, close, close + 60, close + 120, close + 60, close + 604800
        )
        event = replace(
            old, ticker=name, page_key=close, strike_at=None, created=when, updated=when,
            fee_override=None, fee_changes=[], markets=[], shared={}, rendered=None,
        )  # fmt: skip
        for rank, model in enumerate(old.markets):
            suffix = model.ticker.removeprefix(old.ticker).lstrip("-") or str(rank + 1)
            listed = replace(
                model, ticker=f"{name}-{suffix}", event=event, life=life, updated=when,
                paused=False, contested="", edits=None, rendered_until=0.0,
                seed=mix(model.seed, int(when)),
            )  # fmt: skip
            event.markets.append(listed)
        self._exchange.create_event(event, when)
