"""What existed or changed on a day. Memory is that of a few words for each row."""

from collections.abc import Collection
from typing import Final

import msgspec

from ssmd_archive import bounds
from ssmd_archive.bounds import Span
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.errors import NotArchived
from ssmd_archive.losses import DAMAGED, Loss, losses
from ssmd_archive.manifest import Segment, State
from ssmd_archive.rebuild import place, rebuild, state_rows
from ssmd_archive.replay import Key, Replay

TABLES: Final = ("series", "events", "markets")
"""The tables whose rows have tickers."""


class Ticker(msgspec.Struct):
    """A row that was there on the day, or was changed on it. `status` is that at the day's end, or
    the last one; series have none.
    """

    table: str
    ticker: str
    series: str | None = None
    event: str | None = None
    status: str | None = None
    changes: int = 0
    added: bool = False
    removed: bool = False


class Known(msgspec.Struct, frozen=True):
    """What is kept of a row."""

    ticker: str | None = None
    event_ticker: str | None = None
    series_ticker: str | None = None
    status: str | None = None


_known: Final = msgspec.json.Decoder(Known)


def _keep(_: str, row: bytes) -> Known:
    return _known.decode(row)


def tickers(
    archive: Archive, listed: list[Listed], day: str, tables: Collection[str] = TABLES
) -> tuple[list[Ticker], list[Loss]]:
    """By table and ticker; and what was lost that day, so that changes may be missing.

    Raises:
        NotArchived: nothing is archived of that day.
        ArchiveDamaged: a file is not what the manifest says.
    """
    here = [listing for listing in listed if listing.day == day]
    if not any(isinstance(line, Segment | State) for _, line in here):
        days = sorted({listing.day for listing in listed})
        span = f"the archive has {days[0]} to {days[-1]}" if days else "the archive is empty"
        raise NotArchived(f"nothing is archived of {day}: {span}")
    replay = _before(archive, listed, here, tables)
    found = {
        (table, key): _ticker(table, key, known)
        for table in tables
        for key, known in replay.rows(table).items()
    }
    for message in bounds.read(archive, here, Span()):
        touched = replay.apply(message.chain, message.line, message.folder)
        if touched is None or touched.table not in tables or touched.is_announced:
            continue
        place = touched.table, touched.key
        ticker = found.get(place)
        if ticker is None:
            ticker = found[place] = _ticker(*place, Known())
        ticker.changes += 1
        ticker.added = ticker.added or touched.op == "insert"
        ticker.removed = touched.op == "delete"
    for table in tables:
        for key, known in replay.rows(table).items():
            _tell(found.setdefault((table, key), _ticker(table, key, known)), known)
    # Of lines that are missing behind the day's last one the next day's first one tells.
    later = min((listing.day for listing in listed if listing.day > day), default=None)
    lost = [
        loss
        for loss in losses(listed)
        if loss.day == day or (loss.kind == DAMAGED and loss.day == later)
    ]
    return [found[place] for place in sorted(found)], lost


def _before(
    archive: Archive, listed: list[Listed], here: list[Listed], tables: Collection[str]
) -> Replay[Known]:
    """The day's own first state, which the day's messages make the day; else what was before it."""
    for day, line in here:
        if isinstance(line, State):
            replay = Replay(tables, _keep)
            replay.begin(line, state_rows(archive, day, line, tables))
            return replay
    before = listed[: listed.index(here[0])]
    try:
        at = place(archive, before, None)
        return rebuild(archive, before, at, tables, _keep).replay
    except NotArchived:
        # All that is known is what the day's messages say.
        return Replay(tables, _keep)


def _ticker(table: str, key: Key, known: Known) -> Ticker:
    ticker = Ticker(table, key[0])
    _tell(ticker, known)
    return ticker


def _tell(ticker: Ticker, known: Known) -> None:
    ticker.series = known.series_ticker or ticker.series
    ticker.event = (known.event_ticker if ticker.table == "markets" else None) or ticker.event
    ticker.status = known.status or ticker.status
