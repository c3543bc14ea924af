"""What follows from comparing a market's trades."""

from decimal import Decimal
from typing import Final

from ssmd_archive import lines
from ssmd_archive.archived_trades import Found
from ssmd_archive.capture_gaps import Opening
from ssmd_archive.certificate import (
    Archived,
    Certificate,
    Differences,
    Gap,
    Market,
    Result,
    Trades,
)
from ssmd_archive.tradesets import COMPARED, Compared, TradeSet, exact
from ssmd_common.words import counted
from ssmd_stream.market.coverage import State

_FINE: Final = (State.COMPLETE, State.REPAIRED)
_MOST_GAPS: Final = 20


def judge(
    stream: str,
    ticker: str,
    market: Market,
    found: Found,
    compared: Compared,
    gaps: list[Gap],
    opening: Opening | None,
    at: str,
) -> Certificate:
    """The certificate of a settled market whose trades were all compared; `gaps` is what the
    records of the capture say of missing ones, `opening` of the time when it opened, where its
    trades are not all there (`ssmd_archive.capture_gaps`)."""
    volume = _volume(compared.exchange, market.volume)
    result, why = _result(compared, found, gaps, opening, volume, market)
    if opening is not None and not gaps:
        gaps = [opening.gap]
    return Certificate(
        ticker=ticker,
        result=result,
        why=why,
        certified_at=at,
        market=market,
        exchange=trades_of(compared.exchange),
        archive=_archived(stream, ticker, found, compared.archive),
        compared=Differences(
            fields=list(COMPARED),
            missing=compared.missing,
            extra=compared.extra,
            different=compared.different,
            missing_ids=compared.missing_ids,
            extra_ids=compared.extra_ids,
            different_ids=compared.different_ids,
        ),
        volume=volume,
        gaps=gaps[:_MOST_GAPS],
        damaged=found.damaged[:_MOST_GAPS],
    )


def _result(
    compared: Compared,
    found: Found,
    gaps: list[Gap],
    opening: Opening | None,
    volume: str | None,
    market: Market,
) -> tuple[Result, str]:
    """The gravest thing that is the matter, and all of them in words."""
    wrong: list[tuple[Result, str]] = []
    if found.damaged:
        more = f" and {len(found.damaged) - 1} more" if len(found.damaged) > 1 else ""
        wrong.append((Result.DAMAGED, f"{found.damaged[0]}{more} is not as it was sealed"))
    if compared.missing:
        explained = all(gap.state not in _FINE for gap in gaps)
        ids = _ids(compared.missing, "is", "are")
        why = f"{ids} missing in the archive"
        why += ", where it has gaps" if explained else ", where it calls itself whole"
        if explained and opening and _all_before(compared.missing_at, opening):
            why += f": {_since(opening, market)}"
        wrong.append((Result.COVERAGE_GAP if explained else Result.MISSING, why))
    if compared.extra:
        ids = _ids(compared.extra, "is", "are")
        wrong.append((Result.EXTRA, f"{ids} in the archive only"))
    if compared.different:
        ids = _ids(compared.different, "differs", "differ")
        wrong.append((Result.DIFFERENT, ids))
    if not wrong and volume is None:
        wrong.append((Result.UNKNOWN, "the trades are the same; the exchange names no volume"))
    if not wrong and volume == "neither":
        count = trades_of(compared.exchange).count
        why = f"the trades are the same, and add up to {count}, not to {market.volume}"
        if opening is not None and falls_short(compared, market):
            # Neither side has what was traded then, and the archive does not say that it had.
            wrong.append((Result.COVERAGE_GAP, f"{why}: {_since(opening, market)}"))
        else:
            wrong.append((Result.VOLUME_DIFFERS, why))
    if wrong:
        # What a gap explains is no fault of its own.
        worst = next((one for one in wrong if one[0] is not Result.COVERAGE_GAP), wrong[0])
        return worst[0], "; ".join(why for _, why in wrong)
    if compared.archive.repaired:
        return (
            Result.REPAIRED,
            f"{compared.archive.repaired} of {compared.archive.trades} trades came over REST",
        )
    return Result.COMPLETE, ""


def falls_short(compared: Compared, market: Market) -> bool:
    """Whether the exchange's trades add up to less than its volume."""
    return market.volume is not None and compared.exchange.count < Decimal(market.volume)


def _all_before(missing_at: list[int], opening: Opening) -> bool:
    since = opening.captured_since
    return since is None or lines.timestamp(missing_at[-1] * 1000) < since


def _since(opening: Opening, market: Market) -> str:
    if opening.captured_since is None:
        return "trades were not captured while it was open"
    return (
        f"trades are captured since {opening.captured_since[:19]}Z, "
        f"and it opened at {(market.open_time or '')[:19]}Z"
    )


def _ids(count: int, one: str, many: str) -> str:
    return f"{counted(count, 'id')} {one if count == 1 else many}"


def _volume(exchange: TradeSet, said: str | None) -> str | None:
    """Nobody wrote down whether a market's volume has block trades: either answer is one."""
    if said is None:
        return None
    volume = Decimal(said)
    with_blocks = exchange.count == volume
    without = exchange.count - exchange.count_of_blocks == volume
    if with_blocks and without:
        return "both"
    if with_blocks:
        return "all trades"
    return "all but block trades" if without else "neither"


def trades_of(side: TradeSet) -> Trades:
    """One side, as a certificate has it."""
    return Trades(
        trades=side.trades,
        blocks=side.blocks,
        count=exact(side.count),
        count_without_blocks=exact(side.count - side.count_of_blocks),
        sha256=side.sha256,
    )


def _archived(stream: str, ticker: str, found: Found, side: TradeSet) -> Archived:
    return Archived(
        stream=stream,
        head=found.head,
        from_place=found.from_place,
        to_place=found.to_place,
        searched=found.searched,
        searched_sha256=found.searched_sha256,
        files=found.files.get(ticker, []),
        doubled=side.doubled,
        repaired=side.repaired,
        trades=trades_of(side),
    )
