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
from ssmd_common.words import counted

_NONE: Final = "there is no certificate"
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
    without = 0
    known = [ticker for ticker, _ in certificate.paths(root)]
    for ticker in tickers or known:
        found: Certificate | None = None
        try:
            found = certificate.read(root, ticker)
            wrong = check(archive, listed, found) if found else [_NONE]
            without += found is None
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
    if len(rows) == without:
        raise NotArchived(f"{_NONE}: `ssmd archive certify` makes them")
    output.rows(rows, _COLUMNS, style)
    wrong_rows = sum(not row["is_true"] for row in rows) - without
    there = counted(len(rows) - without, "certificate")
    more = f"; {counted(without, 'market')} without one" if without else ""
    output.note(f"{there}, of which not true any more: {wrong_rows:,}{more}")
    if wrong_rows:
        return ExitCode.DRIFT
    return ExitCode.NOT_FOUND if without else ExitCode.OK
