"""What `ssmd archive compact` does and prints."""

from collections.abc import Iterator
from pathlib import Path

from ssmd_archive import playback
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import NotArchived
from ssmd_archive.layout import Layout, is_day
from ssmd_archive.parquet import record
from ssmd_archive.parquet.record import Record
from ssmd_cli import output
from ssmd_cli.archive_streams import layout
from ssmd_common.errors import ConfigurationError


def compact(
    root: Path,
    stream: str | None,
    day: str | None,
    *,
    partial: bool,
    again: bool,
    as_json: bool,
) -> bool:
    """Compact days, and say what came of each; whether nothing is missing of any.

    Raises:
        ConfigurationError: the day is none, or the libraries are not installed.
        NoArchive, NotArchived, ArchiveDamaged, ArchiveLocked: it cannot be done.
    """
    try:
        from ssmd_archive.parquet import compaction
    except ImportError as error:
        raise not_installed(error) from error
    if day is not None and not is_day(day):
        raise ConfigurationError(f"--date {day} is no day such as 2026-02-03")
    layouts = [layout(stream)] if stream else playback.streams(root)
    done: list[tuple[Record, bool]] = []
    for archive, one in _days(root, layouts, day, partial=partial):
        found = compaction.compact(archive, one, partial=partial, again=again)
        done.append(found)
        if not as_json:
            _tell(*found)
    if not done:
        raise NotArchived(
            f"nothing is archived of {day}"
            if day
            else "no day is over yet: --partial compacts what there is, and marks it so"
        )
    if as_json:
        output.document([_document(*found) for found in done])
    return all(found.is_complete for found, _ in done)


def not_installed(error: ImportError) -> ConfigurationError:
    return ConfigurationError(f"{error.name} is not installed: pip install 'ssmd-cli[archive]'")


def _days(
    root: Path, layouts: list[Layout], day: str | None, *, partial: bool
) -> Iterator[tuple[Archive, str]]:
    """Those that are meant, and have messages."""
    for of in layouts:
        archive = Archive(root, of)
        listed = list(archive.lines())
        for one in [day] if day else archive.days():
            found = record.day_of(listed, one)
            if found.segments and (day is not None or partial or found.is_over):
                yield archive, one


def _tell(found: Record, is_new: bool) -> None:
    rows = ", ".join(f"{made.table} {made.rows:,}" for made in found.tables if made.rows)
    megabytes = sum(made.bytes for made in found.tables) / 1e6
    what = f"{rows} ({megabytes:,.1f} MB)" if is_new else "is compacted already"
    print(f"{found.stream} {found.day}  {what}")
    if not found.is_over:
        output.note(f"{found.stream} {found.day} is not over: it is compacted in part")
    for lost in found.lost:
        output.note(
            f"{found.stream} {found.day} lacks sequences {lost.from_seq} to {lost.to_seq} of chain "
            f"{lost.chain}: {lost.why}"
        )
    odd = sum(made.rows for made in found.tables if made.table == "other")
    if odd:
        output.note(
            f"{found.stream} {found.day}: {odd:,} messages fit no table; the table `other` has "
            "them, and says why"
        )


def _document(found: Record, is_new: bool) -> dict[str, object]:
    return {
        "stream": found.stream,
        "day": found.day,
        "new": is_new,
        "over": found.is_over,
        "complete": found.is_complete,
        "messages": found.messages,
        "tables": {made.table: made.rows for made in found.tables},
        "bytes": sum(made.bytes for made in found.tables),
        "lost": found.lost,
    }
