"""The time of `ssmd archive coverage` for a day of many markets, beside that of its records alone.

A shard of books is archived whose connection was replaced many times, each time with all markets in
chunks, with counts every five seconds, gaps and new snapshots. The ratio is against the time in
which the same records are read from the files and decoded, in the same run.

usage: make bench BENCH=coverage ARGS="--markets 100000"
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from made_market_data import Maker, subject_of

from ssmd_archive import playback
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import books
from ssmd_archive.lock import locked
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_cli.archive_coverage import coverage
from ssmd_stack.scratch import scratch_directory
from ssmd_stream.market.messages import SessionRecord, decoded, encoded

DAY = datetime(2026, 2, 3, tzinfo=UTC)
SESSIONS = 8
CHUNK = 500
COUNT_SECONDS = 5


class Took(NamedTuple):
    """Seconds by the clock, and of processor time: there what else runs does not count."""

    wall: float
    processor: float


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=100_000)
    arguments = parser.parse_args()
    with scratch_directory() as folder:
        count = write(folder, arguments.markets)
        reading = seconds(lambda: read(folder))
        shown = seconds(lambda: show(folder, as_json=False))
        as_json = seconds(lambda: show(folder, as_json=True))
    for name, took, aim in (
        (f"records of the day are read, {count:,}", reading, "the reference"),
        (f"`ssmd archive coverage`, {arguments.markets:,} markets", shown, "aim: 5 s"),
        ("the same with `--json`", as_json, "each market on its own"),
    ):
        sys.stdout.write(
            f"| {name} | {took.wall:.2f} s by the clock, {took.processor:.2f} s of processor time, "
            f"{took.processor / reading.processor:.1f} times | {aim} |\n"
        )


def records(markets: int) -> Iterator[SessionRecord]:
    """A day of one connector's books."""
    tickers = [f"KX{number % 50}-26FEB03-T{number}" for number in range(markets)]
    length = timedelta(days=1) / SESSIONS
    for number in range(SESSIONS):
        maker, began = Maker(f"s{number}"), DAY + number * length
        yield maker.record("opened", at=began)
        for start in range(0, markets, CHUNK):
            some = tuple(tickers[start : start + CHUNK])
            at = began + timedelta(milliseconds=start)
            yield maker.record("added", of_channel="orderbook_delta", tickers=some, at=at)
        at = began + timedelta(milliseconds=markets)
        middle = began + length / 2
        while at < began + length - timedelta(seconds=30):
            at += timedelta(seconds=COUNT_SECONDS)
            yield maker.record("count", at=at, published={"book": 1})
            if middle <= at < middle + timedelta(seconds=COUNT_SECONDS):
                yield maker.record(
                    "gap", of_channel="orderbook_delta", at=at, reason="a sequence is missing",
                    since=(at - timedelta(seconds=1)).isoformat(), until=at.isoformat(),
                )  # fmt: skip
                yield maker.record("resnapshot", of_channel="orderbook_delta", at=at)
        if number % 2:
            yield maker.record("closed", at=at)


def write(root: Path, markets: int) -> int:
    count = 0
    with locked(root):
        writer = ArchiveWriter(root, books(0), Rotation(900))
        writer.recover()
        writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        for count, record in enumerate(records(markets), 1):
            ns = int(datetime.fromisoformat(record.received_at).timestamp() * 1e6) * 1000
            writer.take([Stored(count, subject_of(record, 0), encoded(record), ns)])
            writer.work()
        writer.seal()
        writer.close()
    return count


def read(root: Path) -> None:
    for item in playback.play([Archive(root, books(0))]):
        assert isinstance(item, playback.Played)
        decoded(item.payload)


def show(root: Path, *, as_json: bool) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        coverage(root, "2026-02-03", None, None, None, as_json=as_json)


def seconds(work: Callable[[], None]) -> Took:
    began = Took(time.monotonic(), time.process_time())
    work()
    return Took(time.monotonic() - began.wall, time.process_time() - began.processor)


if __name__ == "__main__":
    main()
