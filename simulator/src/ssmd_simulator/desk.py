"""The commands of a WebSocket client, and the answers to them."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from ssmd_simulator import marketmessages as market
from ssmd_simulator.connection import Connection, Subscription, error, with_id
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.faults import Faults
from ssmd_simulator.floor import Floor
from ssmd_simulator.messages import CHANNELS
from ssmd_simulator.orderbook import Trading
from ssmd_simulator.settings import Settings

OTHER_CHANNELS = frozenset(
    {
        "fill",
        "market_positions",
        "communications",
        "order_group_updates",
        "user_orders",
        "cfbenchmarks_value",
        "pyth_value",
    }
)
"""Channels of the exchange that may be subscribed to here but never say anything."""

_json = msgspec.json.Encoder()


class Desk:
    """Takes commands; `deliver` is how a message goes out to a subscription."""

    def __init__(
        self, exchange: Exchange, settings: Settings, faults: Faults, floor: Floor, hub: Any
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._faults = faults
        self._floor = floor
        self._hub = hub

    def command(self, connection: Connection, text: str) -> None:
        """Answer a command, with whatever follows from it."""
        try:
            command = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            connection.put(error(None, 1))
            return
        number = command.get("id")
        given: Any = command.get("params")
        params: dict[str, Any] = given if isinstance(given, dict) else {}
        refused = self._faults.for_command()
        if refused is not None:
            connection.put(error(number, refused))
            return
        match command.get("cmd"):
            case "list_subscriptions":
                held = [
                    {"channel": s.channel, "sid": s.sid} for s in connection.subscriptions.values()
                ]
                connection.put(_json.encode(with_id(number, {"type": "ok", "msg": held})))
            case "subscribe" | "unsubscribe" | "update_subscription" if "params" not in command:
                connection.put(error(number, 2))
            case "subscribe":
                self._subscribe(connection, number, params)
            case "unsubscribe":
                self._unsubscribe(connection, number, params)
            case "update_subscription":
                self._update(connection, number, params)
            case _:
                connection.put(error(number, 5))

    # --- subscribing ------------------------------------------------------------------------------

    def _subscribe(self, connection: Connection, number: object, params: dict[str, Any]) -> None:
        channels = params.get("channels")
        if not isinstance(channels, list) or not channels:
            connection.put(error(number, 3))
            return
        tickers = _tickers(params)
        for channel in channels:
            if channel not in CHANNELS | market.CHANNELS | OTHER_CHANNELS:
                connection.put(error(number, 8))
            elif any(s.channel == channel for s in connection.subscriptions.values()):
                connection.put(error(number, 6))
            elif channel == market.BOOK and not tickers:
                connection.put(error(number, 14))
            elif code := self._refusal(tickers if channel in market.CHANNELS else (), 0):
                connection.put(error(number, *code))
            else:
                self._begin(connection, number, channel, tickers, params)

    def _begin(
        self,
        connection: Connection,
        number: object,
        channel: str,
        tickers: tuple[str, ...],
        params: dict[str, Any],
    ) -> None:
        connection.sids += 1
        sid = connection.sids
        has_list = bool(tickers) and channel in market.CHANNELS
        to = Subscription(
            channel,
            sid,
            markets=dict.fromkeys(tickers) if has_list else None,
            yes_price=params.get("use_yes_price") is True,
            numbered=channel != market.TICKER
            and (channel != market.TRADE or self._settings.trade_numbers),
            short_acks=params.get("skip_ticker_ack") is True,
        )
        connection.subscriptions[sid] = to
        self._hub.changed()
        answer = {"type": "subscribed", "msg": {"channel": channel, "sid": sid}}
        connection.put(_json.encode(with_id(number, answer)))
        for line in self._hub.recorded.get(channel, ()):
            connection.put(line)
        if has_list:
            self._initial(connection, to, tickers, params)

    def _initial(
        self,
        connection: Connection,
        to: Subscription,
        tickers: Iterable[str],
        params: dict[str, Any],
    ) -> None:
        if to.channel == market.BOOK:
            self._snapshots(connection, to, tickers)
        elif to.channel == market.TICKER and params.get("send_initial_snapshot") is True:
            stamp = market.Stamp.at(self._exchange.clock())
            for ticker in tickers:
                body = market.ticker(self._trading(ticker), stamp)
                self._hub.deliver(connection, to, market.TICKER, body)

    def _unsubscribe(self, connection: Connection, number: object, params: dict[str, Any]) -> None:
        sids = params.get("sids")
        if not isinstance(sids, list) or not sids:
            connection.put(error(number, 4))
            return
        for sid in sids:
            gone = connection.subscriptions.pop(sid, None) if isinstance(sid, int) else None
            if gone is None:
                connection.put(error(number, 7))
                continue
            self._hub.changed()
            answer = {"sid": sid, **self._ack_number(gone), "type": "unsubscribed"}
            connection.put(_json.encode(with_id(number, answer)))

    # --- updating ---------------------------------------------------------------------------------

    def _update(self, connection: Connection, number: object, params: dict[str, Any]) -> None:
        sids = params.get("sids") or ([params["sid"]] if "sid" in params else [])
        if not isinstance(sids, list) or len(sids) != 1:
            connection.put(error(number, 12))
            return
        to = connection.subscriptions.get(sids[0])
        if to is None:
            connection.put(error(number, 7))
        elif "action" not in params:
            connection.put(error(number, 15))
        elif to.markets is None or params["action"] not in _ACTIONS:
            # The lifecycle channels carry everything; there is nothing to add or to remove.
            connection.put(error(number, 13))
        elif not (tickers := _tickers(params)):
            connection.put(error(number, 14))
        elif to.too_fast(self._settings.command_rate, self._exchange.clock()):
            connection.put(error(number, 27))
        else:
            self._act(connection, number, to, tickers, params)

    def _act(
        self,
        connection: Connection,
        number: object,
        to: Subscription,
        tickers: tuple[str, ...],
        params: dict[str, Any],
    ) -> None:
        assert to.markets is not None
        match params["action"]:
            case "add_markets":
                new = tuple(ticker for ticker in tickers if ticker not in to.markets)
                if code := self._refusal(new, len(to.markets)):
                    connection.put(error(number, *code))
                    return
                to.markets.update(dict.fromkeys(new))
                self._acknowledge(connection, number, to)
                self._initial(connection, to, new, params)
            case "delete_markets":
                for ticker in tickers:
                    to.markets.pop(ticker, None)
                self._acknowledge(connection, number, to)
            case _ if to.channel != market.BOOK:
                connection.put(error(number, 13))
            case _:
                if self._settings.snapshot_ack:
                    self._acknowledge(connection, number, to)
                wanted = [ticker for ticker in tickers if ticker in to.markets]
                if self._settings.snapshot_delay:
                    asyncio.get_running_loop().call_later(
                        self._settings.snapshot_delay, self._snapshots, connection, to, wanted
                    )
                else:
                    self._snapshots(connection, to, wanted)

    def _refusal(self, tickers: tuple[str, ...], held: int) -> tuple[int, str] | None:
        """The code, and the market that is the reason."""
        for ticker in tickers:
            if ticker not in self._exchange.universe.markets:
                return 16, ticker
        limit = self._settings.market_limit
        return (26, "") if limit and held + len(tickers) > limit else None

    def _acknowledge(self, connection: Connection, number: object, to: Subscription) -> None:
        answer: dict[str, Any] = {"sid": to.sid, **self._ack_number(to), "type": "ok"}
        if not to.short_acks:
            answer["msg"] = {"market_tickers": list(to.markets or ())}
        connection.put(_json.encode(with_id(number, answer)))

    def _ack_number(self, to: Subscription) -> dict[str, int]:
        match self._settings.ack_numbers:
            case "used":
                to.seq += 1
                return {"seq": to.seq}
            case "next":
                return {"seq": to.seq + 1}
            case "last":
                return {"seq": to.seq}
            case "none":
                return {}

    # --- books ------------------------------------------------------------------------------------

    def _trading(self, ticker: str) -> Trading:
        return self._floor.of(self._exchange.universe.markets[ticker])

    def _snapshots(self, connection: Connection, to: Subscription, tickers: Iterable[str]) -> None:
        for ticker in tickers:
            known = self._exchange.universe.markets.get(ticker)
            if to.sid in connection.subscriptions and to.markets and ticker in to.markets and known:
                body = market.snapshot(self._floor.of(known), yes_price=to.yes_price)
                self._hub.deliver(connection, to, market.SNAPSHOT, body)


_ACTIONS = frozenset({"add_markets", "delete_markets", "get_snapshot"})


def _tickers(params: dict[str, Any]) -> tuple[str, ...]:
    one, many = params.get("market_ticker"), params.get("market_tickers")
    if isinstance(one, str) and one:
        return (one,)
    return tuple(dict.fromkeys(t for t in many if isinstance(t, str))) if isinstance(
        many, list) else ()  # fmt: skip
