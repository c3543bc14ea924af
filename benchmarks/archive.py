"""The speed of `ssmd archive verify`: compressed megabytes a second, by hashes and by each message.

An archive is written without a stream, its files are read once, so that they are in memory, and
then verified. Beside it stands what a bare loop of SHA-256 over the same files does on one core.
Each figure is the best of three; that by processor time does not depend on what else runs.

usage: make bench BENCH=archive ARGS="--messages 2000000"
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ssmd_archive.catalog import Archive
from ssmd_archive.layout import SECMASTER_CDC
from ssmd_archive.verify import verify
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_stack.scratch import scratch_directory

BATCH = 1000
TABLES = ("markets", "markets", "markets", "events", "series")
NOON_NS = 1_795_867_200 * 10**9


class Message(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with scratch_directory() as folder:
        raw_bytes = write(folder, arguments.messages)
        files = sorted(folder.rglob("*.gz"))
        size = sum(path.stat().st_size for path in files)
        bare = seconds(lambda: hash_all(files))
        hashes = seconds(lambda: check(folder, deep=False))
        deep = seconds(lambda: check(folder, deep=True))
    megabytes = size / 1e6
    for name, took, more in (
        (f"SHA-256 alone, {megabytes:,.0f} MB of files", bare, "what bounds verify on one core"),
        ("`ssmd archive verify`", hashes, "aim: 200 MB/s"),
        ("`ssmd archive verify --deep`", deep, f"{raw_bytes / size:.1f} times as much unpacked"),
    ):
        sys.stdout.write(
            f"| {name} | {megabytes / took.wall:,.0f} MB/s, {megabytes / took.processor:,.0f} MB "
            f"and {arguments.messages / took.processor:,.0f} messages a second of processor time "
            f"| {more} |\n"
        )


def write(root: Path, count: int) -> int:
    """An archive of so many messages; how many bytes their payloads have."""
    chance = random.Random(15)
    writer = ArchiveWriter(root, SECMASTER_CDC, Rotation(900, 16 << 20))
    writer.recover()
    writer.begin_chain("2026-11-28T11:00:00Z", 1, "the archive begins")
    total = 0
    for start in range(1, count + 1, BATCH):
        batch = [message(number, chance) for number in range(start, min(start + BATCH, count + 1))]
        total += sum(len(found.payload) for found in batch)
        writer.take(batch)
        writer.work()
    writer.seal()
    return total


def message(number: int, chance: random.Random) -> Message:
    table = TABLES[number % len(TABLES)]
    payload = {
        "v": 1, "lsn": f"0/{number:X}", "xid": number, "epoch": 3, "seq": 0, "table": table,
        "op": "update", "type": f"{table}_updated", "ticker": f"T{chance.randrange(10**6)}",
        "data": {f"column_{n}": f"0.{chance.randrange(10**4):04d}00" for n in range(20)},
    }  # fmt: skip
    text = json.dumps(payload, separators=(",", ":")).encode()
    return Message(number, f"cdc.{table}.update.S", text, NOON_NS + number * 10**6)


class Took(NamedTuple):
    """Seconds: by the clock, and of all threads on processors."""

    wall: float
    processor: float


def seconds(work: Callable[[], None]) -> Took:
    found = []
    for _ in range(3):
        began = Took(time.monotonic(), time.process_time())
        work()
        found.append(Took(time.monotonic() - began.wall, time.process_time() - began.processor))
    return Took(min(took.wall for took in found), min(took.processor for took in found))


def hash_all(files: list[Path]) -> None:
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)


def check(root: Path, *, deep: bool) -> None:
    report = verify(Archive(root), deep=deep)
    assert not report.findings


if __name__ == "__main__":
    main()
