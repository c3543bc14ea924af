"""Coverage of archived market data: its records of the capture, and where the archive lacks some.

Read as far back as each session goes that the span knows, and a day beyond it: what a count or a
repair says of the span may have been said after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from ssmd_archive import lines
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.layout import MARKET_DATA, Layout, books
from ssmd_archive.losses import losses
from ssmd_archive.manifest import Segment
from ssmd_archive.messages import segment_messages
from ssmd_stream.market.coverage import BOOK, Coverage, State, of_datetime
from ssmd_stream.market.messages import SessionRecord, decoded
from ssmd_stream.market.timeline import Interval, Span

_BEGINNINGS: Final = ("opened", "takeover")
_DAY: Final = timedelta(days=1)


class Anchor(NamedTuple):
    """When the stream had reached a sequence, in microseconds since 1970."""

    place: tuple[int, int]
    at: int


class Read(NamedTuple):
    """`span` is what was asked for, as far as the archive reaches; `lost` what it lacks of it."""

    stream: str
    coverage: Coverage
    span: Span
    lost: list[Interval]


class Covered(NamedTuple):
    """One channel of one market; `ticker` None: of every market. Where the records say the same of
    markets, these share their list of intervals."""

    channel: str
    ticker: str | None
    intervals: list[Interval]

    def seconds(self) -> dict[str, float]:
        """How long each state lasted in all."""
        found = dict.fromkeys(map(str, State), 0.0)
        for interval in self.intervals:
            found[interval.state] += (interval.until - interval.since) / 1e6
        return found


def streams(root: Path) -> list[Layout]:
    """Those of market data that an archive has."""
    found = [MARKET_DATA] if (root / MARKET_DATA.stream).is_dir() else []
    shard = 0
    while (root / books(shard).stream).is_dir():
        found.append(books(shard))
        shard += 1
    return found


def read(archive: Archive, since: datetime, until: datetime) -> Read | None:
    """The records of a stream that tell of a span of time; None where it has no day of it.

    Raises:
        ArchiveDamaged: a manifest or a file cannot be read.
    """
    listed = list(archive.lines())
    times = [line for _, line in listed if isinstance(line, Segment)]
    if not times:
        return None
    first, last = _microseconds(times[0].first_time), _microseconds(times[-1].last_time)
    span = Span(max(of_datetime(since), first), min(of_datetime(until), last))
    if span.since >= span.until:
        return None
    records: list[SessionRecord] = []
    anchors: list[Anchor] = []
    days = sorted({day for day, _ in listed}, reverse=True)
    beyond = (until + _DAY).astimezone(UTC).strftime("%Y-%m-%d")
    begins = since.astimezone(UTC).strftime("%Y-%m-%d")
    for day in days:
        if day > beyond:
            continue
        told, reached = _day(archive, [one for one in listed if one.day == day])
        records[:0], anchors[:0] = told, reached
        if day < begins and _all_begin(records):
            break
    coverage = Coverage()
    for record in records:
        coverage.take(record)
    return Read(archive.layout.stream, coverage, span, _lost(listed, anchors))


def covered(found: Read, channel: str, ticker: str | None) -> Covered:
    """What is known of a channel, of books of one market."""
    told = found.coverage.intervals(channel, ticker, found.span, found.lost)
    return Covered(channel, ticker, told)


def channels_of(stream: str) -> tuple[str, ...]:
    """The channels that a stream has."""
    return ("trade", "ticker") if stream == MARKET_DATA.stream else (BOOK,)


def _day(archive: Archive, listed: list[Listed]) -> tuple[list[SessionRecord], list[Anchor]]:
    records, anchors = [], []
    for day, line in listed:
        if not isinstance(line, Segment):
            continue
        anchors.append(Anchor((line.chain, line.from_seq), _microseconds(line.first_time)))
        for message in segment_messages(archive, day, line, lines.RECORDS.__contains__):
            anchors.append(Anchor(message.place, message.line.stored_at_ns // 1000))
            record = decoded(message.line.payload)
            if isinstance(record, SessionRecord):
                records.append(record)
        anchors.append(Anchor((line.chain, line.to_seq), _microseconds(line.last_time)))
    return records, anchors


def _all_begin(records: list[SessionRecord]) -> bool:
    """Whether there are records, and each session's from its beginning on."""
    begun: set[str] = set()
    for record in records:
        if record.what in _BEGINNINGS:
            begun.add(record.session)
        elif record.session not in begun and record.what != "repaired":
            return False
    return bool(begun)


def _lost(listed: list[Listed], anchors: list[Anchor]) -> list[Interval]:
    """What the archive lacks, between the nearest messages whose times are known."""
    found = []
    places = [anchor.place for anchor in anchors]
    for loss in losses(listed):
        before = bisect_left(places, (loss.chain, loss.from_seq)) - 1
        after = bisect_left(places, (loss.chain, loss.to_seq + 1))
        if not anchors or (before < 0 and loss.kind == "expired"):
            # What had left the stream before the archive began.
            continue
        since = anchors[before].at if before >= 0 else anchors[0].at
        until = anchors[after].at if after < len(anchors) else anchors[-1].at
        why = f"the archive lacks sequences {loss.from_seq} to {loss.to_seq}: {loss.why}"
        if loss.kind == "chain":
            why = loss.why
        found.append(Interval(since, max(until, since + 1), State.UNKNOWN, why))
    return found


def _microseconds(text: str) -> int:
    return lines.nanoseconds(text) // 1000


def day_of(text: str) -> tuple[datetime, datetime]:
    """A day's beginning and end, UTC; ValueError where it is none."""
    begins = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    return begins, begins + _DAY


def last_day(root: Path, found: list[Layout]) -> str | None:
    """The newest day of these streams."""
    return max(_days(root, found), default=None)


def _days(root: Path, found: list[Layout]) -> Iterator[str]:
    for layout in found:
        yield from Archive(root, layout).days()
