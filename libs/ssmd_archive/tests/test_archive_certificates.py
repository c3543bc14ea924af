"""Trades held against each other, and certificates as files."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_archive import certificate
from ssmd_archive.certificate import Certificate, Market, Result
from ssmd_archive.errors import CertificateUnreadable
from ssmd_archive.tradesets import MOST_NAMED, Trade, TradeSets

some_trades = st.lists(
    st.builds(
        Trade,
        id=st.sampled_from(["a", "b", "c", "ä", "", "a b"]),
        price=st.sampled_from(["0.4200", "0.0010"]),
        contracts=st.sampled_from(["0.01", "10.00", "3.005"]),
        taker_side=st.sampled_from([None, "yes", "no"]),
        block=st.booleans(),
        at=st.integers(0, 5_000_000),
        is_repaired=st.booleans(),
    ),
    max_size=12,
)


def by_id(trades: list[Trade]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in trades:
        found.setdefault(one.id, set()).add(one.said)
    return found


@given(some_trades, some_trades)
def test_both_sides_are_held_against_each_other(ours: list[Trade], theirs: list[Trade]) -> None:
    with TradeSets() as sets:
        sets.add("archive", [("M", one) for one in ours])
        sets.add("exchange", [("M", one) for one in theirs])
        # Another market's are not mixed in.
        sets.add("archive", [("N", one) for one in theirs])
        found = sets.compare("M")
        again = sets.archived("M")
    a, b = by_id(ours), by_id(theirs)
    assert sorted(found.missing_ids) == sorted(b.keys() - a.keys())
    assert sorted(found.extra_ids) == sorted(a.keys() - b.keys())
    assert found.different_ids == sorted(one for one in a.keys() & b.keys() if a[one] != b[one])
    assert (found.missing, found.extra) == (len(b.keys() - a.keys()), len(a.keys() - b.keys()))
    assert (found.archive.sha256 == found.exchange.sha256) == (a == b)
    assert found.archive == again
    for side, trades in ((found.archive, ours), (found.exchange, theirs)):
        assert side.trades == len({one.id for one in trades})
        if all(len(said) == 1 for said in by_id(trades).values()):
            once = {one.id: one for one in trades}.values()
            assert side.count == sum((Decimal(one.contracts) for one in once), Decimal(0))
        assert side.doubled == len(trades) - sum(map(len, by_id(trades).values()))


def test_ids_are_named_up_to_a_bound() -> None:
    with TradeSets() as sets:
        sets.add("exchange", _trades(3 * MOST_NAMED))
        found = sets.compare("M")
    assert (found.missing, len(found.missing_ids)) == (3 * MOST_NAMED, MOST_NAMED)


def _trades(count: int) -> Iterator[tuple[str, Trade]]:
    for number in range(count):
        yield "M", Trade(f"{number:036d}", "0.4200", "1.00", "yes", False, number * 1000)


_LARGE = """
import resource, sys
sys.path[:0] = [{folder!r}]
from test_archive_certificates import _trades, TradeSets
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with TradeSets() as sets:
    for side in ("archive", "exchange"):
        sets.add(side, _trades(100_000))
    found = sets.compare("M")
assert (found.archive.trades, found.missing, found.extra) == (100_000, 0, 0)
print(peak() - before)
"""


def test_a_market_of_100_000_trades_takes_little_memory() -> None:
    program = _LARGE.format(folder=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 48 << 10, "KiB: SQLite's cache has 16 MiB"


MADE = Certificate(
    ticker="KX-A", result=Result.COMPLETE, why="", certified_at="2026-02-04T00:00:00Z",
    market=Market(status="finalized", volume="3.00", settled_time="2026-02-03T23:59:59Z"),
)  # fmt: skip


def test_a_certificate_is_read_as_it_was_written(tmp_path: Path) -> None:
    certificate.write(tmp_path, MADE)
    assert certificate.read(tmp_path, "KX-A") == MADE
    assert certificate.read(tmp_path, "KX-B") is None
    assert MADE.day == "2026-02-03"
    [(ticker, path)] = certificate.paths(tmp_path)
    assert ticker == "KX-A"
    text = path.read_bytes()
    assert text.count(b"\n") == 1
    assert msgspec.json.decode(text)["result"] == "complete"
    for changed in (text.replace(b"3.00", b"4.00"), text[:-2], b"", b"{}", text.upper()):
        path.write_bytes(changed)
        with pytest.raises(CertificateUnreadable):
            certificate.read(tmp_path, "KX-A")
    # That of another market is not its.
    path.write_bytes(text)
    path.rename(certificate.path_of(tmp_path, "KX-C"))
    with pytest.raises(CertificateUnreadable, match="that of KX-A"):
        certificate.read(tmp_path, "KX-C")


def test_two_who_write_one_leave_a_whole_one(tmp_path: Path) -> None:
    whys = ["short", "long " * 5000]
    made = [
        Certificate(ticker="KXA-1", result=Result.MISSING, why=why, certified_at="") for why in whys
    ]
    begins = Barrier(2)

    def write(one: Certificate) -> None:
        begins.wait()
        for _ in range(50):
            certificate.write(tmp_path, one)
            found = certificate.read(tmp_path, "KXA-1")
            assert found is not None
            assert found.why in whys

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(write, made)] == [None, None]
    [path] = (tmp_path / "certificates" / "KXA").iterdir()
    assert path.name == "KXA-1.json"


def test_what_says_nothing_replaces_nothing(tmp_path: Path) -> None:
    nothing = msgspec.structs.replace(MADE, result=Result.UNKNOWN)
    certificate.write(tmp_path, nothing)
    certificate.write(tmp_path, msgspec.structs.replace(MADE, result=Result.MISSING))
    certificate.write(tmp_path, nothing)
    kept = certificate.read(tmp_path, "KX-A")
    assert kept is not None
    assert kept.result is Result.MISSING
    certificate.write(tmp_path, MADE)
    assert certificate.read(tmp_path, "KX-A") == MADE
    # Nor is what cannot be read kept for its sake.
    certificate.path_of(tmp_path, "KX-A").write_bytes(b"x")
    certificate.write(tmp_path, nothing)
    assert certificate.read(tmp_path, "KX-A") == nothing


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_every_ticker_has_a_file_of_its_own(ticker: str) -> None:
    root = Path("root")
    path = certificate.path_of(root, ticker)
    assert path.resolve().is_relative_to((root / certificate.CERTIFICATES).resolve())
    assert len(path.relative_to(root).parts) == 3
    assert path.name.endswith(".json")
