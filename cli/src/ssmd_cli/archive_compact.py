"""What `ssmd archive compact` does and prints."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssmd_archive import playback
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import ArchiveLocked, NotArchived
from ssmd_archive.layout import Layout
from ssmd_archive.parquet import record
from ssmd_archive.parquet.record import Record
from ssmd_cli import output
from ssmd_cli.archive_place import parse_day
from ssmd_cli.archive_streams import layout
from ssmd_common.errors import ConfigurationError, SsmdError
from ssmd_common.exitcodes import ExitCode
from ssmd_common.words import counted


class _Failed(NamedTuple):
    stream: str
    day: str
    error: SsmdError


def compact(
    root: Path,
    stream: str | None,
    day: str | None,
    *,
    partial: bool,
    again: bool,
    as_json: bool,
) -> ExitCode:
    """Compact days, and say what came of each. One that cannot be compacted costs itself alone.

    The exit code: where days cannot be compacted that of their reason, FAILED for several reasons;
    PARTIAL where days lack messages.

    Raises:
        ConfigurationError: the day is none, or the libraries are not installed.
        NoArchive, NotArchived, ArchiveLocked: there is nothing to compact, or another one does.
    """
    try:
        from ssmd_archive.parquet import compaction
    except ImportError as error:
        raise not_installed(error) from error
    day = None if day is None else parse_day(day)
    layouts = playback.streams(root) if stream is None else [layout(stream)]
    done: list[tuple[Record, bool]] = []
    failed: list[_Failed] = []
    for archive, one in _days(root, layouts, day, partial=partial):
        try:
            found = compaction.compact(archive, one, partial=partial, again=again)
        except ArchiveLocked:
            raise
        except SsmdError as error:
            failed.append(_Failed(archive.layout.stream, one, error))
            output.note(f"{archive.layout.stream} {one} is not compacted: {error}")
        else:
            done.append(found)
            if not as_json:
                _tell(*found)
    if not done and not failed:
        if day is not None:
            raise NotArchived(f"nothing is archived of {day}")
        output.note(_nothing(root, layouts, partial=partial))
    if as_json:
        output.document([*(_document(*found) for found in done), *map(_failure, failed)])
    if failed:
        if len(failed) + len(done) > 1:
            names = ", ".join(f"{one.stream} {one.day}" for one in failed)
            whole = counted(len(failed) + len(done), "day")
            output.note(f"{len(failed)} of {whole} cannot be compacted: {names}")
        codes = {one.error.exit_code for one in failed}
        return codes.pop() if len(codes) == 1 else ExitCode.FAILED
    return ExitCode.PARTIAL if any(found.lost for found, _ in done) else ExitCode.OK


def _nothing(root: Path, layouts: list[Layout], *, partial: bool) -> str:
    if partial or not any(Archive(root, of).days() for of in layouts):
        # What the archiver is writing is no evidence before it is sealed.
        return "nothing is sealed yet" + (f" of {layouts[0].stream}" if len(layouts) == 1 else "")
    return "no day is over yet: --partial compacts what there is, and marks it so"


def not_installed(error: ImportError) -> ConfigurationError:
    return ConfigurationError(f"{error.name} is not installed: pip install 'ssmd-cli[archive]'")


def _days(
    root: Path, layouts: list[Layout], day: str | None, *, partial: bool
) -> Iterator[tuple[Archive, str]]:
    """Those that are meant, and have messages, or lines that cannot be read."""
    for of in layouts:
        archive = Archive(root, of)
        listed = archive.readable()
        for one in archive.days():
            if day not in (None, one):
                continue
            found = record.day_of(listed, one)
            is_meant = day is not None or partial or found.is_over
            if is_meant and (found.segments or _is_unreadable(archive, one)):
                yield archive, one


def _is_unreadable(archive: Archive, day: str) -> bool:
    return any(text.line is None for text in archive.texts(day)[0])


def _tell(found: Record, is_new: bool) -> None:
    rows = ", ".join(f"{made.table} {made.rows:,}" for made in found.tables if made.rows)
    megabytes = sum(made.bytes for made in found.tables) / 1e6
    what = f"{rows} ({megabytes:,.1f} MB)" if is_new else "is compacted already"
    print(f"{found.stream} {found.day}  {what}")
    if not found.is_over:
        output.note(
            f"{found.stream} {found.day} is not over: it is compacted as far as it is archived, "
            "and made anew by a later `ssmd archive compact`"
        )
    for lost in found.lost:
        output.note(
            f"{found.stream} {found.day} lacks sequences {lost.from_seq} to {lost.to_seq} of chain "
            f"{lost.chain}: {lost.why}"
        )
    odd = sum(made.rows for made in found.tables if made.table == "other")
    if odd:
        output.note(
            f"{found.stream} {found.day}: {counted(odd, 'message')} in the table `other`, since no "
            "table's columns take them; it says why"
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


def _failure(failed: _Failed) -> dict[str, object]:
    return {"stream": failed.stream, "day": failed.day, "error": str(failed.error)}
