"""The messages of the channels trade, ticker and orderbook_delta, as the bytes of `msg`.

Twenty thousand a second are made of them, so they are put together from pieces.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import msgspec

from ssmd_simulator.orderbook import ONE, Trading
from ssmd_simulator.tape import Trade
from ssmd_simulator.wire import count, dollars, rfc3339

TRADE, TICKER, BOOK = "trade", "ticker", "orderbook_delta"
SNAPSHOT = "orderbook_snapshot"
CHANNELS = frozenset({TRADE, TICKER, BOOK})

_DOLLARS = [dollars(price).encode() for price in range(ONE + 1)]
_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment in the exchange's spellings."""

    seconds: float
    milliseconds: int
    text: bytes

    @classmethod
    def at(cls, seconds: float) -> Self:
        """The moment, to the millisecond."""
        milliseconds = int(seconds * 1000)
        return cls(seconds, milliseconds, rfc3339(milliseconds / 1000).encode())


class Delta(NamedTuple):
    """A change of a level; NO's price is what NO costs."""

    trading: Trading
    side: str
    price: int
    delta: int
    stamp: Stamp

    def body(self, *, yes_price: bool) -> bytes:
        """The message; `yes_price`: with NO's price as what YES costs."""
        price = ONE - self.price if yes_price and self.side == "no" else self.price
        sign = b"-" if self.delta < 0 else b""
        return (
            b'{"market_ticker":%b,"market_id":"%b","price_dollars":"%b","delta_fp":"%b%b",'
            b'"side":"%b","ts":"%b","ts_ms":%d}'
        ) % (
            self.trading.name,
            self.trading.id.encode(),
            _DOLLARS[price],
            sign,
            count(abs(self.delta)).encode(),
            self.side.encode(),
            self.stamp.text,
            self.stamp.milliseconds,
        )


def trade(done: Trade, trade_id: bytes, name: bytes) -> bytes:
    """A trade; `name` is the ticker as JSON."""
    taker = done.taker.encode()
    return (
        b'{"trade_id":"%b","market_ticker":%b,"yes_price_dollars":"%b","no_price_dollars":"%b",'
        b'"count_fp":"%b","taker_side":"%b","taker_outcome_side":"%b","taker_book_side":"%b",'
        b'"is_block_trade":%b,"ts":%d,"ts_ms":%d}'
    ) % (
        trade_id,
        name,
        _DOLLARS[done.price],
        _DOLLARS[ONE - done.price],
        count(done.size).encode(),
        taker,
        taker,
        b"bid" if done.taker == "yes" else b"ask",
        b"true" if done.block else b"false",
        done.at // 1_000_000,
        done.at // 1000,
    )


def ticker(trading: Trading, stamp: Stamp) -> bytes:
    """The quote and the counts of a market."""
    return (
        b'{"market_ticker":%b,"market_id":"%b","price_dollars":"%b","yes_bid_dollars":"%b",'
        b'"yes_ask_dollars":"%b","volume_fp":"%b","open_interest_fp":"%b","dollar_volume":%d,'
        b'"dollar_open_interest":%d,"yes_bid_size_fp":"%b","yes_ask_size_fp":"%b",'
        b'"last_trade_size_fp":"%b","ts":%d,"ts_ms":%d,"time":"%b"}'
    ) % (
        trading.name,
        trading.id.encode(),
        _DOLLARS[trading.last],
        _DOLLARS[trading.bid],
        _DOLLARS[trading.ask],
        count(trading.volume).encode(),
        count(trading.open_interest).encode(),
        trading.volume // 200,
        trading.open_interest // 200,
        count(trading.bid_size).encode(),
        count(trading.ask_size).encode(),
        count(trading.last_size).encode(),
        stamp.milliseconds // 1000,
        stamp.milliseconds,
        stamp.text,
    )


def snapshot(trading: Trading, *, yes_price: bool) -> bytes:
    """A whole book, the lowest price of each side first; a side without orders is left out."""
    msg: dict[str, Any] = {"market_ticker": trading.market.ticker, "market_id": trading.id}
    if trading.yes:
        msg["yes_dollars_fp"] = [[dollars(p), count(n)] for p, n in sorted(trading.yes.items())]
    if trading.no:
        shown = {ONE - p if yes_price else p: n for p, n in trading.no.items()}
        msg["no_dollars_fp"] = [[dollars(p), count(n)] for p, n in sorted(shown.items())]
    return _json.encode(msg)
