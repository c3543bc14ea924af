"""Certificates of a whole day: each kind of tampering, with every market of it."""

import hashlib
import json
import shutil
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import traded
from made_market_data import Maker

from ssmd_archive import certificate
from ssmd_archive.certificate import FAILS
from ssmd_stream.market.messages import TradeMessage

from .test_cli_certify import DRIFT, TAMPERINGS, Day, tampered

TRADES = 6
WRONG = {kind: said for kind, said in TAMPERINGS.items() if said[0] in FAILS}
MARKETS = len(WRONG)


@pytest_asyncio.fixture
async def day(tmp_path: Path) -> AsyncIterator[Day]:
    async with traded.exchange() as sim:
        markets = traded.active(sim, MARKETS)
        for market in markets:
            traded.trade(sim, market, TRADES, blocks=False)
            traded.settle(sim, market)
        tickers = [market.ticker for market in markets]
        yield Day(sim, tickers, "", "", traded.trades(sim, tickers), tmp_path)


def of(trades: list[TradeMessage], ticker: str) -> list[TradeMessage]:
    return [one for one in trades if one.ticker == ticker]


async def results(day: Day, root: Path, *, code: int = DRIFT) -> dict[str, tuple[str, str]]:
    """What the certificates of its markets say: result and why."""
    found = await day.certified(root, *day.traded, code=code)
    return {one["ticker"]: (one["result"], one["why"]) for one in found}


async def test_certificates_hold_for_every_market_of_a_day(day: Day) -> None:
    root = day.place / "archive"
    traded.archive(root, day.trades)
    assert await results(day, root, code=0) == dict.fromkeys(day.traded, TAMPERINGS["nothing"])


@pytest.mark.parametrize("kind", WRONG)
async def test_none_holds_of_a_day_whose_markets_were_all_tampered_with(
    day: Day, kind: str
) -> None:
    made = [one for ticker in day.traded for one in tampered(kind, of(day.trades, ticker))]
    if kind == "added":
        # Each is another one: the exchange has none of them.
        ids = iter(range(MARKETS))
        known = {one.trade_id for one in day.trades}
        made = [
            one if one.trade_id in known
            else msgspec.structs.replace(one, trade_id=f"{next(ids):08d}{one.trade_id[8:]}")
            for one in made
        ]  # fmt: skip
    root = day.place / "archive"
    traded.archive(root, sorted(made, key=traded.moment))
    assert await results(day, root) == dict.fromkeys(day.traded, WRONG[kind])


async def test_only_the_market_that_was_tampered_with_fails(day: Day) -> None:
    for number, (ticker, kind) in enumerate(zip(day.traded, WRONG, strict=True)):
        made = [one for one in day.trades if one.ticker != ticker]
        made += tampered(kind, of(day.trades, ticker))
        root = day.place / f"archive-{number}"
        traded.archive(root, sorted(made, key=traded.moment))
        wanted = {**dict.fromkeys(day.traded, TAMPERINGS["nothing"]), ticker: WRONG[kind]}
        assert await results(day, root) == wanted, kind


@pytest.mark.parametrize("what", ["gone", "a byte", "its end", "another hash", "another size"])
async def test_none_holds_of_a_day_whose_sealed_file_is_another(day: Day, what: str) -> None:
    root = day.place / "archive"
    traded.archive(root, day.trades)
    await results(day, root, code=0)
    honest = {ticker: certificate.read(root, ticker) for ticker in day.traded}
    tamper(root, what)
    found = await results(day, root)
    assert {result for result, _ in found.values()} == {"damaged"}, found
    # Nor are those that were made before true any more.
    for ticker, one in honest.items():
        assert one is not None
        certificate.write(root, one)
        assert certificate.read(root, ticker) == one
    done = await day.ssmd("certify", "--check", *day.traded, "--json", "--root", str(root))
    assert done.code == DRIFT
    rows = {row["ticker"]: row["is_true"] for row in json.loads(done.out)}
    assert rows == dict.fromkeys(day.traded, False)


@pytest.mark.parametrize("what", ["its manifest", "all of it"])
async def test_none_holds_where_a_day_is_missing(day: Day, what: str) -> None:
    """Whoever takes a day away takes away what says that there was something."""
    root = day.place / "archive"
    noon = traded.moment(day.trades[0])
    later = Maker("s2").record("opened", at=noon + timedelta(days=1))
    traded.archive(
        root, day.trades, began=noon - timedelta(days=1), change=lambda whole: [*whole, later]
    )
    await results(day, root, code=0)
    folder = root / "MARKET_DATA" / traded.DAY
    if what == "all of it":
        shutil.rmtree(folder)
    else:
        (folder / "manifest.jsonl").unlink()
    assert {result for result, _ in (await results(day, root)).values()} == {"damaged"}


def tamper(root: Path, what: str) -> None:
    """Change the file that has the trades, or what its line of the manifest says of it."""
    [path] = (root / "MARKET_DATA").rglob("trade/*.gz")
    # What was said before the trades may be of the day before.
    listing = path.parents[1] / "manifest.jsonl"
    content = path.read_bytes()
    size, sha256 = len(content), hashlib.sha256(content).hexdigest()
    match what:
        case "gone":
            path.unlink()
        case "a byte":
            at = size // 2
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        case "its end":
            path.write_bytes(content[:-1])
        case "another hash":
            relist(listing, sha256, sha256[::-1])
        case "another size":
            relist(listing, f'"bytes":{size},', f'"bytes":{size + 1},')


def relist(listing: Path, said: str, instead: str) -> None:
    """Change lines of a manifest, and make their checksums right."""
    whole = listing.read_text().splitlines()
    assert sum(said in line for line in whole) == 1
    changed = []
    for line in whole:
        text = line.replace(said, instead).rpartition(',"crc32":')[0]
        changed.append(f'{text},"crc32":"{zlib.crc32(text.encode()):08x}"}}\n')
    listing.write_text("".join(changed))
