"""What `ssmd archive verify` prints."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import typer

from ssmd_archive import coverage
from ssmd_archive.catalog import Archive
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import repair_of
from ssmd_archive.parquet.check import Compacted, check
from ssmd_archive.verify import Finding, Report
from ssmd_archive.verify import verify as verify_archive
from ssmd_cli import output
from ssmd_cli.archive_root import remote_of
from ssmd_cli.archive_streams import layout
from ssmd_cli.progress import BytesRead
from ssmd_common.errors import ConfigurationError
from ssmd_common.words import counted

_SHA256: Final = re.compile("[0-9a-f]{64}")


def verify(
    root: Path,
    stream: str | None,
    *,
    deep: bool,
    head: str | None,
    as_json: bool,
) -> bool:
    """Print what is wrong with a stream, by default with each that there is, and with its Parquet;
    whether nothing is.

    `head` is of the stream that is named, else of changes. JSON is the report of these, with those
    of the others under `streams`, and of Parquet under `parquet`, where there is some.

    Raises:
        ConfigurationError: `head` is no SHA-256.
        NoArchive: there is none.
    """
    if head is not None and not _SHA256.fullmatch(head):
        raise ConfigurationError(f"--head {head} is no SHA-256: 64 hexadecimal digits")
    named = layout(stream)
    layouts = [named] if stream else [named, *coverage.streams(root)]
    reports = {}
    compacted: dict[str, Compacted] = {}
    if (remote := remote_of(root)) is not None:
        remote.records()
    hash_of = remote.hash_of if remote else None
    for of in layouts:
        progress = BytesRead(1 << 26) if sys.stderr.isatty() and not as_json else None
        archive = Archive(root, of)
        reports[of.stream] = report = verify_archive(
            archive,
            deep=deep,
            head=head if of is named else None,
            progress=progress or (lambda _: None),
            hash_of=hash_of,
        )
        if remote:
            report.findings += remote.strays(archive)
        made = check(
            archive,
            hash_of=hash_of or hash_file,
            rows_of=_rows_of() if deep and not remote else None,
        )
        if made.days:
            compacted[of.stream] = made
        if progress:
            progress.end()
        if not as_json:
            place = "" if len(layouts) == 1 else f"{of.stream}/"
            _show(report, place, repair_of(archive.stream))
    for stream, made in compacted.items():
        if not as_json:
            _show_parquet(stream, made)
    is_whole = not any(
        findings
        for findings in (
            *(report.findings for report in reports.values()),
            *(made.findings for made in compacted.values()),
        )
    )
    if as_json:
        first = msgspec.to_builtins(reports.pop(named.stream))
        more = {"streams": reports, "parquet": compacted}
        output.document({**first, **{name: found for name, found in more.items() if found}})
    return is_whole


def _rows_of() -> Callable[[Path], int] | None:
    """What counts the rows of Parquet, where the library is installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        output.note("rows of Parquet are not counted: pip install 'ssmd-cli[archive]'")
        return None
    return lambda path: int(pyarrow.parquet.read_metadata(path).num_rows)


def _show_parquet(stream: str, made: Compacted) -> None:
    for finding in made.findings:
        typer.echo(told(finding))
    output.note(
        f"Parquet of {stream}: {counted(len(made.findings), 'fault')} in "
        f"{counted(made.days, 'day')}, {counted(made.files, 'file')} "
        f"({counted(made.bytes, 'byte')}), {counted(made.rows, 'row')}"
    )


def _show(report: Report, place: str, repair: str) -> None:
    for finding in report.findings:
        typer.echo(f"{place}{told(finding)}")
    for finding in report.unfinished:
        output.note(f"{place}{told(finding)} (the archiver finishes it)")
    of = f"{place.removesuffix('/')}: " if place else ""
    output.note(
        f"{of}{counted(len(report.findings), 'fault')} in "
        f"{counted(report.days, 'day')}, {counted(report.lines, 'line')}, "
        f"{counted(report.files, 'file')} ({counted(report.bytes, 'byte')}), "
        f"{counted(report.messages, 'message')}; marked as lost: {report.lost:,}"
    )
    if report.in_bucket:
        output.note(
            f"{of}in the bucket only: {counted(report.in_bucket, 'file')}: `ssmd archive "
            "verify --bucket` looks there"
        )
    if report.head:
        stream = f" --stream {place.removesuffix('/')}" if place else ""
        output.note(
            f"the newest line is {report.head}: `ssmd archive verify{stream} --head {report.head}` "
            "proves later that all lines up to it are these"
        )
    if report.findings:
        output.note(f"{of}{repair} mends what can be mended")


def told(finding: Finding) -> str:
    """A finding in a line."""
    line = f" line {finding.line}" if finding.line else ""
    return f"{finding.path or 'archive'}{line}: {finding.kind}: {finding.what}"
