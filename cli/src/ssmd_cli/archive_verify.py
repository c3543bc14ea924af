"""What `ssmd archive verify` prints."""

import sys
from pathlib import Path

import typer

from ssmd_archive.catalog import Archive
from ssmd_archive.verify import Finding
from ssmd_archive.verify import verify as verify_archive
from ssmd_cli import output
from ssmd_cli.archive_streams import layout


def verify(root: Path, stream: str | None, *, deep: bool, head: str | None, as_json: bool) -> bool:
    """Print what is wrong; whether nothing is.

    Raises:
        NoArchive: there is none.
    """
    progress = _Progress() if sys.stderr.isatty() and not as_json else None
    report = verify_archive(
        Archive(root, layout(stream)), deep=deep, head=head, progress=progress or (lambda _: None)
    )
    if progress:
        progress.end()
    if as_json:
        output.document(report)
        return not report.findings
    for finding in report.findings:
        typer.echo(told(finding))
    for finding in report.unfinished:
        output.note(f"{told(finding)} (the archiver finishes it)")
    output.note(
        f"{len(report.findings)} faults in {report.days} days, {report.lines} lines, "
        f"{report.files} files ({report.bytes} bytes), {report.messages} messages; "
        f"{report.lost} are marked as lost"
    )
    if report.head:
        output.note(
            f"the newest line is {report.head}: --head {report.head} proves later that all "
            "lines up to it are these"
        )
    if report.findings:
        output.note("`ssmd archive repair` mends what can be mended")
    return not report.findings


def told(finding: Finding) -> str:
    """A finding in a line."""
    line = f" line {finding.line}" if finding.line else ""
    return f"{finding.path or 'archive'}{line}: {finding.kind}: {finding.what}"


class _Progress:
    def __init__(self) -> None:
        self._bytes = 0

    def __call__(self, size: int) -> None:
        before, self._bytes = self._bytes, self._bytes + size
        if self._bytes >> 26 != before >> 26:
            sys.stderr.write(f"\r{self._bytes >> 20} MiB")
            sys.stderr.flush()

    @staticmethod
    def end() -> None:
        sys.stderr.write("\r\x1b[K")
