"""Holding certificates against the archive again, for `ssmd archive certify --check`."""

from pathlib import Path
from typing import Any, Final

from ssmd_archive import certificate
from ssmd_archive.catalog import Archive
from ssmd_archive.certificate import Certificate
from ssmd_archive.errors import CertificateUnreadable, NotArchived
from ssmd_archive.layout import MARKET_DATA
from ssmd_archive.recheck import check
from ssmd_cli import output
from ssmd_cli.archive_root import remote_of
from ssmd_common.exitcodes import ExitCode

_COLUMNS: Final = ("ticker", "result", "is_true", "why")


def recheck(root: Path, tickers: list[str], date: str | None, style: output.Format) -> ExitCode:
    """Print of each certificate whether it is still true; the exit code.

    Raises:
        NotArchived: there is none.
        NoArchive, ArchiveDamaged: there is nothing to compare with.
    """
    if (remote := remote_of(root)) is not None:
        remote.certificates(tickers or None)
    archive = Archive(root, MARKET_DATA)
    listed = list(archive.lines())
    rows: list[dict[str, Any]] = []
    known = [ticker for ticker, _ in certificate.paths(root)]
    for ticker in tickers or known:
        found: Certificate | None = None
        try:
            found = certificate.read(root, ticker)
            wrong = check(archive, listed, found) if found else ["there is no certificate"]
        except CertificateUnreadable as error:
            wrong = [str(error)]
        if date is not None and found is not None and found.day != date:
            continue
        rows.append(
            {
                "ticker": ticker,
                "result": str(found.result) if found else None,
                "is_true": not wrong,
                "why": "; ".join(wrong),
            }
        )
    if not rows:
        raise NotArchived("there are no certificates: `ssmd archive certify` makes them")
    output.rows(rows, _COLUMNS, style)
    wrong_rows = sum(not row["is_true"] for row in rows)
    output.note(f"{len(rows)} certificates, {wrong_rows} are not true any more")
    return ExitCode.DRIFT if wrong_rows else ExitCode.OK
