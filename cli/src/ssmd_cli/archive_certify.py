"""Certifying markets: the exchange asked, its trades held against the archive's."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from ssmd_archive import certificate
from ssmd_archive.archived_trades import Found, gather
from ssmd_archive.capture_gaps import CaptureGaps, Opening
from ssmd_archive.catalog import Archive
from ssmd_archive.certificate import FAILS, HOLDS, Certificate, Market, Result
from ssmd_archive.coverage import day_of
from ssmd_archive.judgement import falls_short, judge
from ssmd_archive.layout import MARKET_DATA
from ssmd_archive.tradesets import Trade, TradeSets, exact
from ssmd_cli import output
from ssmd_cli.archive_place import parse_day
from ssmd_cli.archive_root import remote_of
from ssmd_cli.progress import BytesRead
from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import KalshiSettings, load
from ssmd_common.status import MarketStatus, market_status
from ssmd_common.words import counted
from ssmd_kalshi import values
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.errors import KalshiError, NotFoundError, TransientError
from ssmd_kalshi.marketdata import trade_of_rest
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.signing import load_signer
from ssmd_kalshi.wire import WireMarket, WireTrade
from ssmd_stream.market.coverage import of_datetime
from ssmd_stream.market.messages import time_text

COLUMNS: Final = ("ticker", "result", "trades", "count", "volume", "why")
_MOST_FAILURES: Final = 3
"""In a row: then the exchange is away, and the rest is not asked for."""


def certify(root: Path, tickers: list[str], date: str | None, style: output.Format) -> ExitCode:
    """Certify markets, write what came of it, print it; the exit code.

    Raises:
        ConfigurationError: neither markets nor a day are named, or both, or it is no day.
        NoArchive, ArchiveDamaged: there is nothing to compare.
        KalshiError: the exchange does not say which markets settled.
    """
    if bool(tickers) == (date is not None):
        raise ConfigurationError("name markets, or a day by --date, and not both")
    day = None if date is None else day_of(parse_day(date))
    archive = Archive(root, MARKET_DATA)
    made = asyncio.run(_certify(archive, tickers, day))
    output.rows([shown(one, style) for one in made], COLUMNS, style)
    summary(made)
    return code_of(made)


async def _certify(
    archive: Archive, tickers: list[str], day: tuple[datetime, datetime] | None
) -> list[Certificate]:
    settings = load(KalshiSettings)
    key, path = settings.kalshi_api_key, settings.kalshi_private_key_path
    # Market data needs no key; with one the budget is the key's own.
    signer = load_signer(key.get_secret_value(), path) if key and path else None
    async with KalshiRest(
        settings.kalshi_base_url.get_secret_value(),
        budget=Budget(settings.kalshi_read_budget),
        signer=signer,
    ) as rest:
        with TradeSets(archive.root) as sets:
            return await _Run(archive, rest, sets).certify(tickers, day)


class _Run:
    def __init__(self, archive: Archive, rest: KalshiRest, sets: TradeSets) -> None:
        self._archive = archive
        self._rest = rest
        self._remote = remote_of(archive.root)
        self._sets = sets
        self._gaps = CaptureGaps(archive)
        self._now = time_text(datetime.now(UTC))

    async def certify(
        self, tickers: list[str], day: tuple[datetime, datetime] | None
    ) -> list[Certificate]:
        listed = list(self._archive.lines())
        self._cutoff = await self._rest.historical_cutoff()
        made = []
        markets: dict[str, Market] = {}
        if day is not None:
            markets = {market.ticker: _market(market) async for market in self._settled(*day)}
        for ticker in dict.fromkeys(tickers):
            try:
                markets[ticker] = _market(await self._market(ticker))
            except KalshiError as error:
                made.append(self._unknown(ticker, None, error))
        told = BytesRead(1 << 24, " of trades read")
        found = gather(
            self._archive, listed, markets.keys(), _earliest(markets.values()), self._sets,
            progress=told if sys.stderr.isatty() else lambda _: None,
        )  # fmt: skip
        if self._remote:
            # What is there may say more than what comes now.
            self._remote.certificates(markets)
        failures = 0
        for ticker, market in sorted(markets.items()):
            try:
                made.append(await self._one(ticker, market, found))
                failures = 0
            except KalshiError as error:
                failures += isinstance(error, TransientError)
                if failures >= _MOST_FAILURES:
                    raise
                made.append(self._unknown(ticker, market, error))
            self._sets.forget(ticker)
            certificate.write(self._archive.root, made[-1])
            if self._remote:
                self._remote.give_back(ticker)
        return sorted(made, key=lambda one: one.ticker)

    def _unknown(self, ticker: str, market: Market | None, error: Exception) -> Certificate:
        why = " ".join(str(error).split())
        if isinstance(error, NotFoundError):
            why = "the exchange does not know this market"
        return Certificate(
            ticker=ticker, result=Result.UNKNOWN, why=why, certified_at=self._now, market=market
        )

    async def _one(self, ticker: str, market: Market, found: Found) -> Certificate:
        if market_status(market.status) is not MarketStatus.SETTLED:
            return Certificate(
                ticker=ticker,
                result=Result.NOT_SETTLED,
                why=f"its status is {market.status}",
                certified_at=self._now,
                market=market,
            )
        unread = 0
        async for page in self._pages(ticker, market):
            trades, rejected = _trades(ticker, page)
            unread += rejected
            self._sets.add("exchange", trades)
        compared = self._sets.compare(ticker)
        gaps = list(self._gaps.of(compared.missing_at))
        is_short = compared.missing or falls_short(compared, market)
        opening = self._opening(market) if is_short else None
        stream = self._archive.layout.stream
        made = judge(stream, ticker, market, found, compared, gaps, opening, self._now)
        if unread and made.result not in FAILS:
            why = f"{unread} of the exchange's trades cannot be read"
            return msgspec.structs.replace(made, result=Result.UNKNOWN, why=why)
        return made

    def _opening(self, market: Market) -> Opening | None:
        """None where that is not known of it."""
        opened = _moment(market.open_time)
        ended = _moment(market.close_time) or _moment(market.settled_time)
        if opened is None or ended is None:
            return None
        return self._gaps.opening(of_datetime(opened), of_datetime(ended))

    async def _pages(self, ticker: str, market: Market) -> AsyncIterator[Page[WireTrade]]:
        """All trades of a market; those on both sides of a cutoff that moves come twice."""
        async for page in self._rest.trades(ticker=ticker):
            yield page
        cutoff = _moment(self._cutoff.trades_created_ts)
        opened = _moment(market.open_time)
        if cutoff is not None and (opened is None or opened < cutoff + timedelta(days=1)):
            async for page in self._rest.historical_trades(ticker=ticker):
                yield page

    async def _market(self, ticker: str) -> WireMarket:
        try:
            return await self._rest.market(ticker)
        except NotFoundError:
            return await self._rest.historical_market(ticker)

    async def _settled(self, since: datetime, until: datetime) -> AsyncIterator[WireMarket]:
        """The markets that settled on a day, as far as the live tier goes."""
        cutoff = datetime.fromisoformat(self._cutoff.market_settled_ts)
        if cutoff > since:
            output.note(
                f"markets that settled before {self._cutoff.market_settled_ts} are not listed by "
                "day any more: name them"
            )
        bounds = int(since.timestamp()) - 1, int(until.timestamp()) + 1
        async for page in self._rest.markets(
            status="settled", min_settled_ts=bounds[0], max_settled_ts=bounds[1]
        ):
            if page.rejected_rows:
                rejected = counted(len(page.rejected_rows), "market")
                output.note(f"cannot be read: {rejected} of the day")
            for market in page.items:
                settled = _moment(market.settlement_ts)
                if settled is None or since <= settled < until:
                    yield market


def _market(wire: WireMarket) -> Market:
    volume = wire.volume if wire.volume_fp is None else wire.volume_fp
    try:
        count = values.count(volume)
    except values.FAULTS:
        count = None
    return Market(
        status=wire.status,
        open_time=_text(wire.open_time),
        close_time=_text(wire.close_time),
        settled_time=_text(wire.settlement_ts),
        volume=None if count is None else exact(count),
    )


def _trades(ticker: str, page: Page[WireTrade]) -> tuple[list[tuple[str, Trade]], int]:
    """The trades of a page, and how many cannot be read."""
    found: list[tuple[str, Trade]] = []
    rejected = len(page.rejected_rows)
    for row in page.items:
        try:
            said = trade_of_rest(row)
        except (ValueError, ArithmeticError):
            rejected += 1
            continue
        at = of_datetime(said.exchange_time) if said.exchange_time else 0
        one = Trade(said.trade_id, said.price, said.count, said.taker_side, said.block, at)
        found.append((ticker, one))
    return found, rejected


def _moment(text: str | None) -> datetime | None:
    try:
        return values.time(text)
    except values.FAULTS:
        return None


def _text(time: str | None) -> str | None:
    moment = _moment(time)
    return time_text(moment) if moment else None


def _earliest(markets: Iterable[Market]) -> datetime | None:
    """When the first one opened; None where that is not known of one."""
    opened = [_moment(market.open_time) for market in markets]
    known = [moment for moment in opened if moment is not None]
    return min(known) if known and len(known) == len(opened) else None


def shown(made: Certificate, style: output.Format) -> dict[str, Any]:
    """A certificate as a row of a table or of CSV, else all of it."""
    if style in (output.Format.JSON, output.Format.JSONL):
        found: dict[str, Any] = msgspec.to_builtins(made)
        return found
    trades = made.archive.trades if made.archive else None
    return {
        "ticker": made.ticker,
        "result": str(made.result),
        "trades": trades.trades if trades else None,
        "count": trades.count if trades else None,
        "volume": made.market.volume if made.market else None,
        "why": made.why,
    }


def summary(made: list[Certificate]) -> None:
    """How many of each result, and what the day says of block trades."""
    counts = {result: sum(one.result is result for one in made) for result in Result}
    said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    markets = counted(len(made), "market")
    output.note(f"{markets}: {said}" if made else "no market settled then")
    told = [one.volume for one in made if one.exchange and one.exchange.blocks]
    if told:
        with_blocks = told.count("all trades")
        without = told.count("all but block trades")
        output.note(
            f"of {len(told)} with block trades the volume has these in {with_blocks}, "
            f"and has not in {without}"
        )


def code_of(made: list[Certificate]) -> ExitCode:
    if any(one.result in FAILS for one in made):
        return ExitCode.DRIFT
    if len(made) == 1 and made[0].why == "the exchange does not know this market":
        return ExitCode.NOT_FOUND
    if any(one.result not in HOLDS for one in made):
        return ExitCode.PARTIAL
    return ExitCode.OK
