"""What `ssmd archive verify` prints."""

import sys
from pathlib import Path
from typing import Protocol

import msgspec
import typer

from ssmd_archive import coverage
from ssmd_archive.catalog import Archive
from ssmd_archive.verify import Finding, Report
from ssmd_archive.verify import verify as verify_archive
from ssmd_cli import output
from ssmd_cli.archive_streams import layout
from ssmd_cli.progress import BytesRead


class Elsewhere(Protocol):
    """Where files are that are not in the archive's directory."""

    def hash_of(self, path: Path) -> tuple[int, str]: ...

    def strays(self, archive: Archive) -> list[Finding]: ...


def verify(
    root: Path,
    stream: str | None,
    *,
    deep: bool,
    head: str | None,
    as_json: bool,
    elsewhere: Elsewhere | None = None,
) -> bool:
    """Print what is wrong with a stream, by default with each that there is; whether nothing is.

    `head` is of the stream that is named, else of changes. JSON is the report of these, with those
    of the others under `streams`.

    Raises:
        NoArchive: there is none.
    """
    named = layout(stream)
    layouts = [named] if stream else [named, *coverage.streams(root)]
    reports = {}
    for of in layouts:
        progress = BytesRead(1 << 26) if sys.stderr.isatty() and not as_json else None
        archive = Archive(root, of)
        reports[of.stream] = report = verify_archive(
            archive,
            deep=deep,
            head=head if of is named else None,
            progress=progress or (lambda _: None),
            hash_of=elsewhere.hash_of if elsewhere else None,
        )
        if elsewhere:
            report.findings += elsewhere.strays(archive)
        if progress:
            progress.end()
        if not as_json:
            _show(report, "" if len(layouts) == 1 else f"{of.stream}/")
    if as_json:
        first = msgspec.to_builtins(reports.pop(named.stream))
        output.document({**first, "streams": reports} if reports else first)
        return not first["findings"] and not any(one.findings for one in reports.values())
    return not any(report.findings for report in reports.values())


def _show(report: Report, place: str) -> None:
    for finding in report.findings:
        typer.echo(f"{place}{told(finding)}")
    for finding in report.unfinished:
        output.note(f"{place}{told(finding)} (the archiver finishes it)")
    of = f"{place.removesuffix('/')}: " if place else ""
    output.note(
        f"{of}{len(report.findings)} faults in {report.days} days, {report.lines} lines, "
        f"{report.files} files ({report.bytes} bytes), {report.messages} messages; "
        f"{report.lost} are marked as lost"
    )
    if report.in_bucket:
        output.note(
            f"{of}{report.in_bucket} more files are in the bucket only: `ssmd archive verify "
            "--bucket` looks at these"
        )
    if report.head:
        output.note(
            f"the newest line is {report.head}: --head {report.head} proves later that all "
            "lines up to it are these"
        )
    if report.findings:
        output.note("`ssmd archive repair` mends what can be mended")


def told(finding: Finding) -> str:
    """A finding in a line."""
    line = f" line {finding.line}" if finding.line else ""
    return f"{finding.path or 'archive'}{line}: {finding.kind}: {finding.what}"
