"""Archived days at work: compacting, and replaying. Rows and messages a second, and memory.

A day of quotes and trades is archived without a stream, then compacted and replayed, each in a
process of its own. Beside compacting stands DuckDB alone over the same files, which reads, sorts
and writes, but rounds and loses what does not fit; beside replaying a bare loop that unpacks the
same files and splits them into lines. Figures by processor time do not depend on what else runs.
Nor do those of two idle cores: there each moment's processor time is divided by the number of
threads that could run then, one or two.

usage: make bench BENCH=compaction ARGS="--messages 5000000"
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from ssmd_archive import playback
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import MARKET_DATA
from ssmd_archive.lock import locked
from ssmd_archive.members import members
from ssmd_archive.parquet.compaction import compact
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_stack.scratch import scratch_directory
from ssmd_stream.market.messages import TickerMessage, TradeMessage, encoded, evidence

BATCH = 1000
CORES = 2
LOOK_SECONDS = 0.004
MARKETS = 20_000
DAY = datetime(2026, 2, 3, tzinfo=UTC)
MIDNIGHT_NS = int(DAY.timestamp()) * 10**9
DAY_NS = 86_000 * 10**9
TRADE = evidence(
    b'{"trade_id":"d91bc706","market_ticker":"KXHIGHNY-26FEB03-T41","yes_price_dollars":"0.3600",'
    b'"count_fp":"136.00","taker_side":"no","ts":1769149841,"ts_ms":1769149841123}'
)
TICKER = evidence(
    b'{"market_ticker":"KXHIGHNY-26FEB03-T41","price_dollars":"0.4800","yes_bid_dollars":"0.4500",'
    b'"yes_ask_dollars":"0.5300","volume_fp":"33896.00","open_interest_fp":"20422.00",'
    b'"ts":1769149841}'
)


class Message(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


class Took(NamedTuple):
    """Seconds by the clock and of all threads on processors, and the most memory in bytes; `idle`
    is seconds by the clock were two cores idle, where that was watched."""

    wall: float
    processor: float
    memory: int
    idle: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if arguments.work:
        name, folder = arguments.work
        before = time.process_time()
        sys.stdout.write(json.dumps([before, *took(lambda: WORK[name](Path(folder)))]))
        return
    with scratch_directory() as folder:
        archiving = took(lambda: write(folder, arguments.messages))
        found = {name: child(name, folder) for name in WORK}
    count = arguments.messages
    rows = (
        ("messages into sealed files, no stream", archiving, None, "aim: 20,000 a second"),
        ("`ssmd archive compact`", found["compact"], found["duckdb"], "aim: 200,000, 500 MB"),
        ("DuckDB alone, which rounds", found["duckdb"], None, "the reference"),
        ("replay, an iterator", found["replay"], found["lines"], "aim: 100,000"),
        ("files unpacked into lines", found["lines"], None, "the reference"),
    )
    for name, one, reference, aim in rows:
        ratio = "" if reference is None else f", {reference.processor / one.processor:.2f} of it"
        sys.stdout.write(
            f"| {name} | {count / one.wall:,.0f}/s; {count / one.processor:,.0f} a second of "
            f"processor time{ratio}{on_idle(count, one)} | {one.memory / 1e6:.0f} MB at most "
            f"| {aim} |\n"
        )


def took(work: Callable[[], None]) -> Took:
    began, processor = time.monotonic(), time.process_time()
    work()
    # Of this program alone: what getrusage says begins with the parent's.
    status = Path("/proc/self/status").read_text()
    memory = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return Took(time.monotonic() - began, time.process_time() - processor, memory)


def on_idle(count: int, one: Took) -> str:
    return f"; {count / one.idle:,.0f}/s on {CORES} idle cores" if one.idle else ""


def child(name: str, folder: Path) -> Took:
    """In a process of its own, whose threads are watched meanwhile."""
    command = [sys.executable, __file__, "--work", name, str(folder)]
    looks = [Threads(0, 0.0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            looks.append(threads(process.pid))
            time.sleep(LOOK_SECONDS)
        assert process.stdout is not None
        output = process.stdout.read()
    assert process.returncode == 0
    start, *figures = json.loads(output)
    idle = sum(
        max(0.0, now.seconds - before.seconds)
        / min(CORES, max(1, (before.runnable + now.runnable + 1) // 2))
        for before, now in pairwise(looks)
        if before.seconds >= start
    )
    wall, processor, memory = figures[:3]
    return Took(wall, processor, memory, idle)


class Threads(NamedTuple):
    """How many of a process's threads could run, and what all that live have run for."""

    runnable: int
    seconds: float


def threads(pid: int) -> Threads:
    runnable, nanoseconds = 0, 0
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        # A thread may end meanwhile.
        with contextlib.suppress(OSError):
            runnable += (folder / "stat").read_text().rpartition(")")[2].split()[0] == "R"
            nanoseconds += int((folder / "schedstat").read_text().split()[0])
    return Threads(runnable, nanoseconds / 1e9)


def write(root: Path, count: int) -> None:
    chance = random.Random(23)
    names = [f"KX{number % 400}-26FEB03-T{number}" for number in range(MARKETS)]
    with locked(root):
        writer = ArchiveWriter(root, MARKET_DATA, Rotation(900))
        writer.recover()
        writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        for start in range(1, count + 1, BATCH):
            writer.take(
                [
                    message(number, chance.choice(names), number * (DAY_NS // count), chance)
                    for number in range(start, min(start + BATCH, count + 1))
                ]
            )
            writer.work()
        writer.seal()
        writer.close()


def message(number: int, ticker: str, after_ns: int, chance: random.Random) -> Message:
    """Four of five are quotes."""
    series = ticker.partition("-")[0]
    said: dict[str, Any] = {
        "v": 1, "connector": "0", "session": "01JKV2ZQ6E", "frame": number,
        "received_at": "2026-02-03T17:00:00.123456Z", "source": "ws", "series": series,
        "event": f"{series}-26FEB03", "ticker": ticker, "sid": 2,
        "exchange_time": "2026-02-03T17:00:00.100000Z",
    }  # fmt: skip
    price = f"0.{chance.randrange(10_000):04d}"
    kind = "ticker" if number % 5 else "trade"
    own: dict[str, Any]
    found: TradeMessage | TickerMessage
    if kind == "trade":
        own = {"trade_id": f"{number:032x}", "price": price, "count": "10.00", "taker_side": "yes"}
        found = TradeMessage(**said, **own, msg=TRADE)
    else:
        own = {"price": price, "yes_bid": "0.4500", "yes_ask": "0.5300", "volume": f"{number}.00"}
        found = TickerMessage(**said, **own, open_interest="20422.00", msg=TICKER)
    subject = f"md.{kind}.{series}.{series}-26FEB03.{ticker}"
    return Message(number, subject, encoded(found), MIDNIGHT_NS + after_ns)


def do_compact(root: Path) -> None:
    compact(Archive(root, MARKET_DATA), DAY.strftime("%Y-%m-%d"), partial=True)


def do_duckdb(root: Path) -> None:
    import duckdb

    texts = ("connector", "session", "source", "series", "event", "ticker", "taker_side")
    columns = dict.fromkeys((*texts, "trade_id"), "VARCHAR")
    columns |= dict.fromkeys(("_seq", "frame", "sid", "seq"), "BIGINT")
    columns |= dict.fromkeys(("_stored_at", "received_at", "exchange_time"), "TIMESTAMPTZ")
    prices = ("price", "yes_bid", "yes_ask", "volume", "open_interest", "count")
    columns |= dict.fromkeys(prices, "DECIMAL(18, 6)")
    with duckdb.connect(config={"threads": 2}) as database:
        for channel in ("trade", "ticker"):
            database.execute(
                "COPY (FROM read_json($files, format = 'newline_delimited', columns = $columns) "
                "ORDER BY ticker, _stored_at, _seq) TO $path (FORMAT parquet, COMPRESSION zstd)",
                {
                    "files": str(root / "MARKET_DATA" / "*" / channel / "*.jsonl.gz"),
                    "columns": columns,
                    "path": str(root / f"{channel}.parquet"),
                },
            )


def do_replay(root: Path) -> None:
    for _ in playback.play([Archive(root, MARKET_DATA)]):
        pass


def do_lines(root: Path) -> None:
    for path in (root / "MARKET_DATA").rglob("*.jsonl.gz"):
        with path.open("rb") as file:
            for member in members(file):
                for _ in member.raw.split(b"\n"):
                    pass


WORK: dict[str, Callable[[Path], None]] = {
    "compact": do_compact,
    "duckdb": do_duckdb,
    "replay": do_replay,
    "lines": do_lines,
}


if __name__ == "__main__":
    main()
