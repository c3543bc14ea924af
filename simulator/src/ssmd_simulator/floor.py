"""The trading floor: orders and trades in the active markets at a chosen rate.

A trade takes from the best orders of the other side, so it moves the book, the quote and the counts
at once: what the WebSocket says, what REST says and what the tape holds agree at every moment.
"""

import random
from collections.abc import Callable
from math import inf
from typing import Protocol

from ssmd_simulator import marketmessages as say
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.ladders import snap, step_at
from ssmd_simulator.messages import Message
from ssmd_simulator.orderbook import ONE, Trading, begin
from ssmd_simulator.quotes import UNTRADED
from ssmd_simulator.tape import Tape
from ssmd_simulator.universe import Market

BEFORE_SECONDS = 60.0

LONGEST = 0.25
"""Seconds of messages that a late step still makes up for."""


class Audience(Protocol):
    """Who hears what the floor says."""

    def hears(self, channel: str) -> bool:
        """Whether anybody listens to a channel."""
        ...

    def tell(self, channel: str, ticker: str, kind: str, body: bytes) -> bool:
        """A message to everybody who wants this market; whether anybody does."""
        ...

    def tell_delta(self, ticker: str, delta: say.Delta) -> bool:
        """A change of a level, to everybody who wants this book; whether anybody does."""
        ...


class Floor:
    """Trades the active markets; `rate` is messages a second on the channels that are heard."""

    def __init__(
        self,
        exchange: Exchange,
        audience: Audience,
        shown: Callable[[Market, float], bytes],
        *,
        rate: float,
        markets: int,
        block_volume: bool = True,
    ) -> None:
        """`shown` is the quote of a market as REST shows it without a floor; without `block_volume`
        a block trade is not in its market's volume."""
        self.tape = Tape(exchange.universe.seed)
        self.rate = rate
        self.made = 0
        """Messages so far."""
        self._exchange = exchange
        self._audience = audience
        self._shown = shown
        self._most = markets
        self._block_volume = block_volume
        self._tradings: dict[str, Trading] = {}
        self._active: list[Market] = []
        self._chance = random.Random(exchange.universe.seed)
        self._began = exchange.clock()
        self._trades_new = rate > 0
        self._stepped = self._began
        self._owed = 0.0
        exchange.listeners.append(self._hear)
        exchange.on_trade = self._on_demand

    def open(self) -> None:
        """Take up the markets that are active now.

        What was traded of them before is one trade of a minute ago: the tape adds up to the volume.
        """
        now = self._exchange.clock()
        first = not len(self.tape)
        for market in self._exchange.universe.unsettled:
            if len(self._active) >= self._most:
                break
            if market.status(now) != "active":
                continue
            self._take_up(market)
            trading = self.of(market)
            if first and trading.volume:
                before = now - BEFORE_SECONDS
                self.tape.add(before, market.ticker, trading.last, trading.volume, "yes")

    def set_rate(self, rate: float) -> None:
        """Go on at another rate; 0 is quiet."""
        if rate < 0:
            raise ValueError("a rate is not below 0")
        quiet, self.rate = not self.rate, rate
        if rate and quiet:
            self._owed, self._stepped = 0.0, self._exchange.clock()
            if not self._active:
                self.open()

    def _hear(self, message: Message) -> None:
        if message.msg.get("event_type") == "created":
            market = self._exchange.universe.markets[message.msg["market_ticker"]]
            self._exchange.at(market.life.open, lambda _: self._take_up(market))

    def _take_up(self, market: Market) -> None:
        if self.rate and len(self._active) < self._most:
            self._active.append(market)
            self._exchange.at(market.life.close, lambda when: self._close(market, when))

    def _close(self, market: Market, when: float) -> None:
        if when < market.life.close < inf:
            # It closes at another time now.
            self._exchange.at(market.life.close, lambda later: self._close(market, later))
        elif market.ticker in self._tradings:
            self._cancel_all(self._tradings[market.ticker], when)

    # --- what is known of a market ----------------------------------------------------------------

    def of(self, market: Market) -> Trading:
        """A market's trading; it begins with what REST has shown so far."""
        trading = self._tradings.get(market.ticker)
        if trading is None:
            now = self._exchange.clock()
            trading = begin(market, self._shown_so_far(market, now))
            self._tradings[market.ticker] = trading
            market.rendered_until = 0.0
            if market.status(now) not in ("active", "inactive"):
                trading.yes.clear()
                trading.no.clear()
        return trading

    def _shown_so_far(self, market: Market, now: float) -> bytes:
        return UNTRADED if self._is_new(market) else self._shown(market, now)

    def _is_new(self, market: Market) -> bool:
        return self._trades_new and market.life.open > self._began

    def members(self, market: Market, *, final: bool) -> bytes | None:
        """The quote that REST shows; None where the floor has nothing to do with a market."""
        trading = self._tradings.get(market.ticker)
        if trading is not None:
            return trading.members(final=final)
        return UNTRADED if self._is_new(market) else None

    # --- trading ----------------------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Make the messages that are due."""
        elapsed, self._stepped = min(LONGEST, now - self._stepped), now
        self._owed += self.rate * elapsed
        if not self._active or self._owed < 1:
            self._owed = min(self._owed, self.rate * LONGEST)
            return
        stamp = say.Stamp.at(now)
        while self._owed >= 1 and self._active:
            # Some markets are traded much more than others.
            place = int(len(self._active) * self._chance.random() ** 3)
            market = self._active[place]
            status = market.status(now)
            if status == "active":
                self._owed -= max(0.2, self._act(self.of(market), stamp))
            elif status == "inactive":
                self._owed -= 0.2
            else:
                self._active[place] = self._active[-1]
                self._active.pop()

    def _on_demand(self, market: Market) -> None:
        if not self.rate and market.ticker not in self._tradings:
            return
        trading, now = self.of(market), self._exchange.clock()
        stamp = say.Stamp.at(now)
        if market.status(now) == "active":
            # Nobody may have offered anything in a market that is new.
            for side in ("yes", "no"):
                if not trading.side(side):
                    self._offer(trading, side, stamp)
        self._trade(trading, stamp)

    def _act(self, trading: Trading, stamp: say.Stamp) -> int:
        """Something happens in a market; how many messages it made."""
        chance = self._chance.random()
        if chance < 0.3:
            return self._trade(trading, stamp)
        side = "yes" if self._chance.random() < 0.5 else "no"
        levels = trading.side(side)
        if chance < 0.6 and len(levels) > 3:
            price = self._chance.choice(list(levels))
            size = levels[price]
            taken = size if self._chance.random() < 0.3 else self._chance.randint(1, size)
            return self._order(trading, side, price, -taken, stamp)
        return self._offer(trading, side, stamp)

    def _offer(self, trading: Trading, side: str, stamp: say.Stamp) -> int:
        levels = trading.side(side)
        other = ONE - max(trading.no if side == "yes" else trading.yes, default=0)
        best = max(levels, default=min(other, ONE // 2) - 100)
        tick = step_at(trading.market.structure, best)
        price = snap(trading.market.structure, best + tick * self._chance.randint(-8, 1))
        if not 0 < price < other:
            price = snap(trading.market.structure, max(0, other - tick))
            if price <= 0:
                return 0
        return self._order(trading, side, price, self._chance.randint(1, 50_000), stamp)

    def _order(self, trading: Trading, side: str, price: int, delta: int, stamp: say.Stamp) -> int:
        before = (trading.bid, trading.bid_size, trading.ask, trading.ask_size)
        trading.change(side, price, delta)
        made = self._say_delta(trading, side, price, delta, stamp)
        if before != (trading.bid, trading.bid_size, trading.ask, trading.ask_size):
            made += self._say(say.TICKER, trading, stamp)
        return made

    def _trade(self, trading: Trading, stamp: say.Stamp) -> int:
        taker = "yes" if self._chance.random() < 0.5 else "no"
        maker = "no" if taker == "yes" else "yes"
        levels = trading.side(maker)
        if not levels:
            return 0
        block = self._chance.random() < 0.01
        best = max(levels)
        size = min(levels[best], self._chance.randint(1, 3000))
        price = best if maker == "yes" else ONE - best
        made = 0
        if not block:
            # A block trade is agreed on beside the book.
            trading.change(maker, best, -size)
            made = self._say_delta(trading, maker, best, -size, stamp)
        opened = self._chance.choice((size, 0, 0, -size))
        trading.traded(price, size, opened, counts=self._block_volume or not block)
        trade = self.tape.add(stamp.seconds, trading.market.ticker, price, size, taker, block=block)
        if self._audience.hears(say.TRADE):
            body = say.trade(trade, self.tape.id_of(trade.number), trading.name)
            made += self._count(
                self._audience.tell(say.TRADE, trading.market.ticker, say.TRADE, body)
            )
        return made + self._say(say.TICKER, trading, stamp)

    def _cancel_all(self, trading: Trading, now: float) -> None:
        stamp = say.Stamp.at(now)
        for side in ("yes", "no"):
            for price, size in list(trading.side(side).items()):
                self._order(trading, side, price, -size, stamp)

    # --- saying so --------------------------------------------------------------------------------

    def _say(self, channel: str, trading: Trading, stamp: say.Stamp) -> int:
        if not self._audience.hears(channel):
            return 0
        ticker = trading.market.ticker
        body = say.ticker(trading, stamp)
        return self._count(self._audience.tell(channel, ticker, channel, body))

    def _say_delta(
        self, trading: Trading, side: str, price: int, delta: int, stamp: say.Stamp
    ) -> int:
        if not self._audience.hears(say.BOOK):
            return 0
        what = say.Delta(trading, side, price, delta, stamp)
        return self._count(self._audience.tell_delta(trading.market.ticker, what))

    def _count(self, heard: bool) -> int:
        self.made += heard
        return int(heard)
