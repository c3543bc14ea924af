"""`ssmd archive certify`: certificates hold for what is archived whole, and for nothing else."""

import gzip
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio
import traded
import warm
from warm import Done

from ssmd_archive import certificate
from ssmd_archive.certificate import Result
from ssmd_simulator.server import Simulator
from ssmd_stream.market.messages import TradeMessage

NOT_FOUND, PARTIAL, DRIFT = 3, 5, 6


class Day(NamedTuple):
    """Three settled markets that were traded, one that was not, one that is not settled."""

    sim: Simulator
    traded: list[str]
    silent: str
    open: str
    trades: list[TradeMessage]
    place: Path

    async def ssmd(self, *words: str, **changed: str) -> Done:
        environment = {"PATH": os.environ["PATH"], "KALSHI_BASE_URL": self.sim.base_url, **changed}
        return await warm.ssmd(("archive", *words), self.place, environment)

    async def certified(self, root: Path, *tickers: str, code: int = 0) -> list[dict[str, Any]]:
        done = await self.ssmd("certify", *tickers, "--json", "--root", str(root))
        assert done.code == code, done
        found: list[dict[str, Any]] = json.loads(done.out)
        return found


@pytest_asyncio.fixture
async def day(tmp_path: Path) -> AsyncIterator[Day]:
    async with traded.exchange() as sim:
        markets = traded.active(sim, 5)
        for market, times in zip(markets[:3], (40, 60, 80), strict=True):
            traded.trade(sim, market, times)
        for market in markets[:4]:
            traded.settle(sim, market)
        tickers = [market.ticker for market in markets]
        trades = traded.trades(sim, tickers)
        yield Day(sim, tickers[:3], tickers[3], tickers[4], trades, tmp_path)


async def test_a_day_of_markets_is_certified_and_checked_again(day: Day, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    traded.archive(root, day.trades)
    done = await day.ssmd("certify", "--date", traded.DAY, "--json", "--root", str(root))
    found = {one["ticker"]: one for one in json.loads(done.out)}
    complete = {ticker for ticker, one in found.items() if one["result"] == "complete"}
    assert complete == {*day.traded, day.silent}
    assert day.open not in found
    # The simulated exchange has no trades of what settled before it began, but volumes.
    others = [one for ticker, one in found.items() if ticker not in complete]
    assert {one["result"] for one in others} == {"coverage gap"}
    assert all("trades were not captured while it was open" in one["why"] for one in others)
    assert done.code == PARTIAL
    assert "of 3 with block trades the volume has these in 3, and has not in 0" in done.err
    one = found[day.traded[0]]
    mine = [trade for trade in day.trades if trade.ticker == day.traded[0]]
    assert one["exchange"] == one["archive"]["trades"]
    assert one["exchange"]["trades"] == len(mine)
    assert one["exchange"]["blocks"] == sum(trade.block for trade in mine) > 0
    assert one["volume"] == "all trades"
    assert one["exchange"]["count"] == one["market"]["volume"]
    assert {file["path"] for file in one["archive"]["files"]} <= {
        path.relative_to(root / "MARKET_DATA").as_posix()
        for path in (root / "MARKET_DATA").rglob("trade/*.gz")
    }
    # The same again, but for the time.
    texts = {ticker: path.read_bytes() for ticker, path in certificate.paths(root)}
    assert await day.certified(root, *day.traded, day.silent)
    again = certificate.read(root, day.traded[0])
    before = certificate.decode(texts[day.traded[0]])
    assert again is not None
    assert msgspec.structs.replace(again, certified_at="") == msgspec.structs.replace(
        before, certified_at=""
    )
    checked = await day.ssmd("certify", "--check", "--root", str(root), KALSHI_BASE_URL="http://x")
    assert checked.code == 0, checked
    assert "certificates, of which not true any more: 0" in checked.err


def tampered(kind: str, mine: list[TradeMessage]) -> list[TradeMessage]:
    """A market's trades, of which one was dealt with like this."""
    replace = msgspec.structs.replace
    at = next(place for place, one in enumerate(mine) if place > 2 and not one.block)
    one = mine[at]
    changed = {
        "removed": [], "gap": [],
        "added": [one, replace(one, trade_id="00000000-0000-4000-a000-000000000000")],
        "count": [replace(one, count="0.01" if one.count != "0.01" else "0.02")],
        "price": [replace(one, price="0.0001" if one.price != "0.0001" else "0.0002")],
        "side": [replace(one, taker_side="no" if one.taker_side == "yes" else "yes")],
        "block": [replace(one, block=True)],
        "id": [replace(one, trade_id=one.trade_id[:-1] + "x")],
        "doubled otherwise": [one, replace(one, count="999.00")],
        "doubled": [one, one],
        "over REST": [replace(one, source="rest")],
        "nothing": [one],
    }[kind]  # fmt: skip
    return [*mine[:at], *changed, *mine[at + 1 :]]


WHOLE = "1 id is missing in the archive, where it calls itself whole"
TAMPERINGS = {
    "removed": ("missing", WHOLE),
    "added": ("extra", "1 id is in the archive only"),
    "count": ("different", "1 id differs"),
    "price": ("different", "1 id differs"),
    "side": ("different", "1 id differs"),
    "block": ("different", "1 id differs"),
    "id": ("missing", f"{WHOLE}; 1 id is in the archive only"),
    "doubled otherwise": ("different", "1 id differs"),
    "doubled": ("complete", ""),
    "over REST": ("repaired", "1 of 15 trades came over REST"),
    "nothing": ("complete", ""),
}


async def test_an_archive_that_was_made_otherwise_is_found_out(tmp_path: Path) -> None:
    """Whoever writes to the archive can make its hashes right: the exchange knows better."""
    root = tmp_path / "archive"
    async with traded.exchange() as sim:
        markets = traded.active(sim, len(TAMPERINGS))
        for market in markets:
            traded.trade(sim, market, 15, blocks=False)
            traded.settle(sim, market)
        kinds = {market.ticker: kind for market, kind in zip(markets, TAMPERINGS, strict=True)}
        honest = traded.trades(sim, kinds)
        made = []
        for ticker, kind in kinds.items():
            made += tampered(kind, [one for one in honest if one.ticker == ticker])
        traded.archive(root, sorted(made, key=traded.moment))
        day = Day(sim, list(kinds), "", "", honest, tmp_path)
        found = await day.certified(root, *kinds, code=DRIFT)
        assert {kinds[one["ticker"]]: (one["result"], one["why"]) for one in found} == TAMPERINGS
        by_kind = {kinds[one["ticker"]]: one for one in found}
        gone = {one.trade_id for one in honest} - {one.trade_id for one in made}
        assert set(by_kind["removed"]["compared"]["missing_ids"]) < gone
        assert by_kind["removed"]["gaps"][0]["state"] == "complete"
        assert by_kind["doubled"]["archive"]["doubled"] == 1
        # Offline each is still what it says: the exchange is not asked.
        done = await day.ssmd("certify", "--check", "--root", str(root))
        assert done.code == 0, done

        # Where the capture's own records tell of a gap, what is missing is no fault.
        [ticker, *_] = kinds
        mine = [one for one in honest if one.ticker == ticker]
        lost = mine[3]
        at = traded.moment(lost)
        gap = at - timedelta(seconds=1), at + timedelta(seconds=2)
        traded.archive(tmp_path / "gap", [one for one in mine if one is not lost], gap)
        [one] = await day.certified(tmp_path / "gap", ticker, code=PARTIAL)
        assert one["result"] == "coverage gap"
        assert one["why"] == "1 id is missing in the archive, where it has gaps"
        assert [(span["state"], span["why"]) for span in one["gaps"]] == [("gap", "closed")]
        # Not so where the gap is elsewhere.
        gap = at - timedelta(seconds=20), at - timedelta(seconds=10)
        traded.archive(tmp_path / "other", [one for one in mine if one is not lost], gap)
        [one] = await day.certified(tmp_path / "other", ticker, code=DRIFT)
        assert one["result"] == "missing"


async def test_a_sum_below_the_volume_is_explained_by_a_late_capture_alone(tmp_path: Path) -> None:
    async with traded.exchange() as sim:
        [market, *_] = traded.active(sim, 1)
        traded.trade(sim, market, 15, blocks=False)
        traded.settle(sim, market)
        day = Day(sim, [market.ticker], "", "", traded.trades(sim, [market.ticker]), tmp_path)
        opened = datetime.fromtimestamp(market.life.open, UTC)
        late, whole = tmp_path / "late", tmp_path / "whole"
        traded.archive(late, day.trades)
        traded.archive(whole, day.trades, began=opened - timedelta(minutes=1))
        trading = sim.floor.of(market)
        for more, of_late in ((0, "complete"), (100, "coverage gap"), (-200, "volume differs")):
            trading.volume += more
            market.rendered_until = 0.0
            of_whole = "complete" if not more else "volume differs"
            for root, result in ((late, of_late), (whole, of_whole)):
                code = {"complete": 0, "coverage gap": PARTIAL, "volume differs": DRIFT}[result]
                [found] = await day.certified(root, market.ticker, code=code)
                assert (found["result"], found["volume"]) == (
                    result, "both" if not more else "neither",
                ), found  # fmt: skip
                says_since = "trades are captured since 2026-11-28T12:0" in found["why"]
                assert says_since == (result == "coverage gap"), found
                assert ([gap["state"] for gap in found["gaps"]] == ["not subscribed"]) == says_since
        # A trade that was lost while trades were captured is no less missing for it.
        trading.volume += 100
        market.rendered_until = 0.0
        lost = day.trades[3]
        rest = [one for one in day.trades if one is not lost]
        traded.archive(tmp_path / "lost", rest)
        [found] = await day.certified(tmp_path / "lost", market.ticker, code=DRIFT)
        assert found["result"] == "missing"
        # One from before the capture is told apart, with both times.
        began = traded.moment(day.trades[0]) + timedelta(seconds=30)
        traded.archive(tmp_path / "later", day.trades[1:], began=began)
        [found] = await day.certified(tmp_path / "later", market.ticker, code=PARTIAL)
        assert found["result"] == "coverage gap"
        assert found["why"] == (
            "1 id is missing in the archive, where it has gaps: trades are captured since "
            f"{began:%Y-%m-%dT%H:%M:%SZ}, and it opened at {opened:%Y-%m-%dT%H:%M:%SZ}"
        )


async def test_a_file_that_is_gone_or_changed_is_no_proof(day: Day, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    traded.archive(root, day.trades)
    assert await day.certified(root, *day.traded)
    [path, *_] = sorted((root / "MARKET_DATA").rglob("trade/*.gz"))
    content = path.read_bytes()
    # The last one has the same lines, and is not the file that was sealed.
    for change in (content[:-1] + b"x", None, gzip.compress(gzip.decompress(content))):
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change)
        checked = await day.ssmd("certify", "--check", "--root", str(root), "--json")
        assert checked.code == DRIFT
        rows = json.loads(checked.out)
        assert all("is not as it was sealed" in row["why"] for row in rows)
        found = await day.certified(root, *day.traded, code=DRIFT)
        assert {one["result"] for one in found} == {"damaged"}
        path.write_bytes(content)
        assert await day.certified(root, *day.traded)


async def test_a_certificate_cannot_be_changed_unseen(day: Day, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    traded.archive(root, day.trades[:-1])
    ticker = day.trades[-1].ticker
    [found] = await day.certified(root, ticker, code=DRIFT)
    assert found["result"] == "missing"
    path = certificate.path_of(root, ticker)
    honest = path.read_bytes()
    path.write_bytes(honest.replace(b'"missing"', b'"complete"', 1))
    done = await day.ssmd("certify", "--check", ticker, "--root", str(root))
    assert (done.code, "not as it was written" in done.out) == (DRIFT, True)
    # Even where its own digest is made anew.
    lie = msgspec.structs.replace(certificate.decode(honest), result=Result.COMPLETE)
    path.write_bytes(certificate.encode(lie))
    done = await day.ssmd("certify", "--check", ticker, "--root", str(root))
    assert (done.code, "its own figures do not" in done.out) == (DRIFT, True)


async def test_what_cannot_be_certified_is_said(day: Day, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    traded.archive(root, day.trades)
    [found] = await day.certified(root, day.open, code=PARTIAL)
    assert (found["result"], found["why"]) == ("not settled yet", "its status is active")
    [found] = await day.certified(root, "KXNONE-1", code=NOT_FOUND)
    assert (found["result"], found["why"]) == (
        "unknown", "the exchange does not know this market",
    )  # fmt: skip
    found = await day.certified(root, "KXNONE-1", day.traded[0], code=PARTIAL)
    assert {one["ticker"]: one["result"] for one in found} == {
        day.traded[0]: "complete", "KXNONE-1": "unknown",
    }  # fmt: skip
    done = await day.ssmd("certify", "--check", day.silent, "--root", str(root))
    assert (done.code, "there is no certificate" in done.err) == (NOT_FOUND, True), done
    done = await day.ssmd("certify", "--check", day.silent, day.traded[0], "--root", str(root))
    assert (done.code, done.out.count("there is no certificate")) == (NOT_FOUND, 1), done
    assert "1 certificate, of which not true any more: 0; 1 market without one" in done.err
    for words, said in (
        ([], "name markets, or a day"),
        (["--date", "2026-02-30"], "is no day"),
        (["--check", "--root", str(tmp_path / "none")], "is no directory"),
    ):
        at = [] if "--root" in words else ["--root", str(root)]
        done = await day.ssmd("certify", *words, *at)
        assert said in done.err, done


@pytest.mark.parametrize("historical", [False, True])
async def test_a_volume_without_block_trades_holds_too(tmp_path: Path, historical: bool) -> None:
    """Nobody wrote down which of both the exchange means; markets leave the live tier."""
    more: dict[str, Any] = {"historical_after": 0.0} if historical else {}
    async with traded.exchange(block_volume=False, **more) as sim:
        [market] = traded.active(sim, 1)
        traded.trade(sim, market, 30)
        traded.settle(sim, market)
        day = Day(sim, [market.ticker], "", "", traded.trades(sim, [market.ticker]), tmp_path)
        traded.archive(tmp_path / "archive", day.trades)
        [found] = await day.certified(tmp_path / "archive", market.ticker)
        assert (found["result"], found["volume"]) == ("complete", "all but block trades")
