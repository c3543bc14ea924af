"""Markets on demand: a life in seconds from now, and the truth about it."""

from math import ceil, inf
from typing import Any

import msgspec

from ssmd_simulator.life import Timetable
from ssmd_simulator.universe import Market


class ScriptedMarket(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /control/markets`: a market whose life is given in seconds from now.

    `created` goes out at once; None leaves a moment to a later call. `count` markets share an
    event; `event` puts them into an existing one.
    """

    series: str = "KXACCEPT"
    event: str | None = None
    ticker: str | None = None
    title: str | None = None
    category: str = "World"
    count: int = 1
    open_in: float = 0.0
    close_in: float = 60.0
    determine_in: float | None = None
    settle_in: float | None = None
    result: str = "yes"
    provisional: bool = False
    multivariate: bool = False
    legs: list[str] = []
    """Of a multivariate one, the tickers of the markets that it combines."""
    strike: float | None = None


def timetable(script: ScriptedMarket, now: float) -> Timetable:
    """A scripted life; opening and closing fall on whole seconds, as the exchange's do."""
    known = [script.open_in, script.close_in, script.determine_in, script.settle_in]
    given = [seconds for seconds in known if seconds is not None]
    if given != sorted(given) or (script.determine_in is None and script.settle_in is not None):
        raise ValueError("the order of a life is open_in, close_in, determine_in, settle_in")
    opened = float(ceil(now + script.open_in) if script.open_in > 0 else int(now))
    close = float(ceil(now + script.close_in))
    determined = settled = inf
    if script.determine_in is not None:
        determined = max(close, now + script.determine_in)
    if script.settle_in is not None:
        settled = max(determined, now + script.settle_in)
    return Timetable(
        created=round(now, 6),
        open=opened,
        close=close,
        determined=round(determined, 3),
        settled=round(settled, 3),
        expected_expiration=close + 1,
        latest_expiration=close + 7 * 86400,
    )


def describe(market: Market, now: float) -> dict[str, Any]:
    """The truth about a market, times in seconds since 1970 (null: not known yet)."""
    moments = {
        "created": market.life.created,
        "open": market.life.open,
        "close": market.life.close,
        "determined": market.life.determined,
        "settled": market.life.settled,
    }
    return {
        "market_ticker": market.ticker,
        "event_ticker": market.event.ticker,
        "series_ticker": market.event.series.ticker,
        "status": market.status(now),
        "result": market.result,
        "life": {name: None if at == inf else at for name, at in moments.items()},
    }
