"""`ssmd archive certify`: what the exchange says of what is archived."""

from typing import Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.archive_root import Root, archive_at
from ssmd_cli.options import AsCsv, Output


def certify_command(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="[TICKER]...", help="These settled markets.")
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="All markets that settled on this day, UTC."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Hold certificates that there are against the archive again, all of them unless "
            "some are named; the exchange is not asked.",
        ),
    ] = False,
    root: Root = None,
    wanted: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="The certificates as JSON.")] = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare archived trades of settled markets with the exchange's, and keep what came of it.

    A certificate is a file of the archive's folder `certificates`. Exit code 6 if trades are
    missing, too many or different, or a certificate is not true any more; 5 if of some markets
    nothing could be said, or a gap of the capture explains what is missing; 4 if the exchange
    cannot be reached.
    """
    from ssmd_cli import output
    from ssmd_cli.archive_certify import certify
    from ssmd_cli.archive_recheck import recheck

    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    with archive_at(root) as found:
        if check:
            code = recheck(found, tickers or [], date, style)
        else:
            code = certify(found, tickers or [], date, style)
    if code:
        raise typer.Exit(code)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to `ssmd archive`."""
    verbs.verb(
        app,
        "certify",
        "ssmd archive certify --date 2026-02-03",
        "ssmd archive certify KXBTCD-26FEB03-T97500 --json",
        "ssmd archive certify --check",
    )(certify_command)
