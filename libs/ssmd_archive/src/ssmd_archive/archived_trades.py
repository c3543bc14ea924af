"""The archived trades of markets, read from sealed files that are as they were sealed."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ssmd_archive import lines, manifest
from ssmd_archive.away import here
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.certificate import UsedFile
from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import MANIFEST
from ssmd_archive.losses import DAMAGED, losses
from ssmd_archive.manifest import File, Segment
from ssmd_archive.messages import file_lines
from ssmd_archive.tradesets import Trade, TradeSets
from ssmd_stream.market.coverage import TRADE, of_datetime

_BATCH: Final = 5_000
_BEFORE: Final = timedelta(hours=1)
"""Before a market opens, from where its trades are looked for: clocks differ."""


class _Archived(msgspec.Struct):
    """A line of a trade, as far as it is compared."""

    ticker: str
    trade_id: str
    price: str
    count: str
    taker_side: str | None = None
    block: bool = False
    source: str = "ws"
    exchange_time: str | None = None


_line: Final = msgspec.json.Decoder(_Archived)


@dataclass(slots=True)
class Found:
    """What the archive has of some markets, beside their trades: the span of places that was read,
    all files of it, and of each market those that have trades. `damaged` files were not read.
    """

    head: str
    from_place: str
    to_place: str
    searched: int = 0
    searched_sha256: str = ""
    files: dict[str, list[UsedFile]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def gather(
    archive: Archive,
    listed: list[Listed],
    tickers: Collection[str],
    since: datetime | None,
    sets: TradeSets,
    places: tuple[str, str] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Found:
    """Put the archived trades of these markets into `sets`, from all that was stored since a while
    before `since`, or between places. `progress` is told how many bytes were read.

    Raises:
        OSError: a file cannot be read.
        InBucket: one is in the bucket only.
        BucketRefused, BucketUnreachable: it cannot be brought from there.
    """
    segments = list(_segments(listed, since, places))
    found = Found(
        head=_head(archive),
        from_place=_place(segments[0][1], first=True) if segments else "",
        to_place=_place(segments[-1][1], first=False) if segments else "",
    )
    found.damaged += _unaccounted(listed, segments)
    wanted = frozenset(tickers)
    searched = hashlib.sha256()
    for day, segment in segments:
        for file in segment.files:
            if file.table != TRADE:
                continue
            path = f"{day}/{file.path}"
            found.searched += 1
            searched.update(f"{path} {file.sha256}\n".encode())
            try:
                used = _file(archive, path, file, wanted, sets)
            except (ArchiveDamaged, FileNotFoundError):
                found.damaged.append(path)
                continue
            for ticker, trades in used.items():
                use = UsedFile(path=path, sha256=file.sha256, trades=trades)
                found.files.setdefault(ticker, []).append(use)
            progress(file.bytes)
    found.searched_sha256 = searched.hexdigest()
    return found


def _unaccounted(listed: list[Listed], segments: list[tuple[str, Segment]]) -> Iterator[str]:
    """Manifests before whose lines others are missing, which may have listed files of trades."""
    if not segments:
        return
    first, last = segments[0][1], segments[-1][1]
    for loss in losses(listed):
        is_after = (loss.chain, loss.to_seq + 1) >= (first.chain, first.from_seq)
        is_before = (loss.chain, loss.to_seq) < (last.chain, last.to_seq)
        if loss.kind == DAMAGED and is_after and is_before:
            yield f"{loss.day}/{MANIFEST}"


def _segments(
    listed: list[Listed], since: datetime | None, places: tuple[str, str] | None
) -> Iterator[tuple[str, Segment]]:
    first = lines.timestamp(of_datetime(since - _BEFORE) * 1000) if since else ""
    bounds = tuple(map(_parse_place, places)) if places and all(places) else None
    for day, line in listed:
        if not isinstance(line, Segment) or (places and bounds is None):
            continue
        if bounds is not None:
            is_wanted = bounds[0] <= (line.chain, line.from_seq) <= bounds[1]
        else:
            is_wanted = line.last_time >= first
        if is_wanted:
            yield day, line


def _file(
    archive: Archive, path: str, file: File, wanted: Collection[str], sets: TradeSets
) -> dict[str, int]:
    """How many trades of each market a file has; its bytes must be those that were sealed."""
    if hash_file(here(archive.stream / path)) != (file.bytes, file.sha256):
        raise ArchiveDamaged(f"{path} is not as it was sealed")
    used: dict[str, int] = {}
    batch: list[tuple[str, Trade]] = []
    for text in file_lines(archive.stream / path):
        try:
            said = _line.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ArchiveDamaged(f"{path} has a line that cannot be read: {error}") from error
        if said.ticker not in wanted:
            continue
        used[said.ticker] = used.get(said.ticker, 0) + 1
        batch.append((said.ticker, _trade(said)))
        if len(batch) >= _BATCH:
            sets.add("archive", batch)
            batch.clear()
    sets.add("archive", batch)
    return used


def _trade(said: _Archived) -> Trade:
    at = datetime.fromisoformat(said.exchange_time) if said.exchange_time else None
    return Trade(
        said.trade_id,
        said.price,
        said.count,
        said.taker_side,
        said.block,
        of_datetime(at) if at else 0,
        said.source == "rest",
    )


def _head(archive: Archive) -> str:
    for day in reversed(archive.days()):
        texts, _ = archive.texts(day)
        for text in reversed(texts):
            if text.line is not None:
                return manifest.digest(text.text)
    return ""


def _place(line: Segment, *, first: bool) -> str:
    return f"{line.chain}:{line.from_seq if first else line.to_seq}"


def _parse_place(text: str) -> tuple[int, int]:
    chain, _, sequence = text.partition(":")
    return int(chain), int(sequence)
