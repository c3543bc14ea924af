"""What `ssmd archive ls|state|tickers` print."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from ssmd_archive import playback
from ssmd_archive import tickers as archived_tickers
from ssmd_archive.bounds import At
from ssmd_archive.catalog import Archive
from ssmd_archive.losses import losses, spans
from ssmd_archive.manifest import Segment
from ssmd_archive.overview import days
from ssmd_archive.rebuild import NOTHING_YET, Rebuilt, place, rebuild
from ssmd_cli import output
from ssmd_cli.archive_cat import tell
from ssmd_cli.archive_place import parse_day, parse_place
from ssmd_cli.archive_streams import layout
from ssmd_common.errors import ConfigurationError
from ssmd_common.tables import PRIMARY_KEY
from ssmd_common.words import counted

_DAY_COLUMNS: Final = (
    "day", "messages", "lost", "states", "files", "bytes", "first_time", "last_time",
)  # fmt: skip
_ROW_COLUMNS: Final = {
    "series": ("ticker", "category", "title"),
    "events": ("event_ticker", "series_ticker", "status", "title"),
    "markets": ("ticker", "event_ticker", "status", "yes_bid_dollars", "yes_ask_dollars", "title"),
    "series_fees": ("series_ticker", "effective_from", "fee_type", "fee_multiplier"),
    "fees": ("tier", "name"),
}
_TICKER_COLUMNS: Final = (
    "table", "ticker", "series", "status", "changes", "added", "removed",
)  # fmt: skip
_SHOWN: Final = 100


def ls(root: Path, stream: str | None, *, as_json: bool) -> None:
    """Print the days, what is lost, and the spans that are complete."""
    listed = list(Archive(root, layout(stream)).lines())
    found, lost, complete = days(listed), losses(listed), spans(listed)
    if as_json:
        output.document(
            {
                "days": [day._asdict() for day in found],
                "lost": [loss._asdict() for loss in lost],
                "complete": [span._asdict() for span in complete],
            }
        )
        return
    output.rows([day._asdict() for day in found], _DAY_COLUMNS, output.Format.TABLE)
    for loss in lost:
        tell(loss)
    for span in complete:
        output.note(
            f"complete: chain {span.chain}, sequences {span.from_seq} to {span.to_seq} "
            f"({span.first_time} to {span.last_time})"
        )
    if not found:
        output.note(NOTHING_YET)
        others = [of.stream for of in playback.streams(root) if Archive(root, of).days()]
        if others:
            output.note(f"there is more: --stream {', --stream '.join(others)}")


def state(
    root: Path, at: str | None, table: str | None, *, limit: int | None, as_json: bool
) -> bool:
    """Print rows as of a moment; whether they are known to be those.

    Raises:
        ConfigurationError: the moment or the table is none.
        NotArchived, NoArchive, ArchiveDamaged: there are none.
    """
    if table is not None and table not in PRIMARY_KEY:
        raise ConfigurationError(
            f"--table {table} has no state: give one of {', '.join(PRIMARY_KEY)}"
        )
    archive = Archive(root)
    listed = list(archive.lines())
    asked = parse_place(at, "--at", listed)
    where = place(archive, listed, asked)
    if isinstance(asked, At) and where == place(archive, listed, None):
        newest = next(line for _, line in reversed(listed) if isinstance(line, Segment))
        output.note(f"nothing is archived yet of what came after {newest.last_time}")
    if table is None:
        counted = rebuild(archive, listed, where, PRIMARY_KEY, lambda *_: None)
        counts = [{"table": name, "rows": len(counted.replay.rows(name))} for name in PRIMARY_KEY]
        output.rows(
            counts, ("table", "rows"), output.Format.JSON if as_json else output.Format.TABLE
        )
        return _tell_of(counted)
    found = rebuild(archive, listed, where, (table,), lambda _, row: row)
    rows = [row for _, row in sorted(found.replay.rows(table).items())]
    if limit is None:
        limit = 0 if as_json else _SHOWN
    shown = rows[:limit] if limit else rows
    if as_json:
        for row in shown:
            sys.stdout.write(row.decode() + "\n")
    else:
        decoded: list[dict[str, Any]] = [msgspec.json.decode(row) for row in shown]
        output.rows(decoded, _ROW_COLUMNS[table], output.Format.TABLE)
    if len(shown) < len(rows):
        output.note(f"there are {len(rows):,} rows: see --limit")
    return _tell_of(found)


def _tell_of(found: Rebuilt[Any]) -> bool:
    """What the rows come from, and what they may lack."""
    source = (
        f"the state after sequence {found.state.after_seq} of chain {found.state.chain}"
        if found.state
        else "an epoch's announcement"
    )
    output.note(f"rows after sequence {found.at.sequence} of chain {found.at.chain}, from {source}")
    if not found.replay.is_settled:
        output.note("changes are among them whose messages may be archived later")
    for loss in found.lost:
        tell(loss)
    for folder, count in found.replay.unread.items():
        unread = counted(count, "message")
        output.note(f"unreadable in {folder}: {unread}; rows are as before")
    return not found.lost and not any(found.replay.unread[table] for table in PRIMARY_KEY)


def tickers(root: Path, day: str, table: str | None, style: output.Format) -> bool:
    """Print what existed or changed on a day; whether nothing was lost.

    Raises:
        ConfigurationError: there is no such table, or the day is none.
        NotArchived, NoArchive, ArchiveDamaged: there is no such day.
    """
    if table is not None and table not in archived_tickers.TABLES:
        raise ConfigurationError(
            f"--table {table} has no tickers: give one of {', '.join(archived_tickers.TABLES)}"
        )
    parse_day(day)
    archive = Archive(root)
    tables = (table,) if table else archived_tickers.TABLES
    found, lost = archived_tickers.tickers(archive, list(archive.lines()), day, tables)
    output.rows([msgspec.structs.asdict(ticker) for ticker in found], _TICKER_COLUMNS, style)
    for loss in lost:
        tell(loss)
    return not lost
