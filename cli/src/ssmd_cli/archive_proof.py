"""`ssmd archive certify|fetch`: what the exchange says of the archive, and what its bucket has."""

from typing import Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.archive_root import AsJson, EachStream, Root, archive_at
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


def fetch_command(
    date: Annotated[
        list[str] | None,
        typer.Option(metavar="YYYY-MM-DD", help="This day, UTC; repeatable. By default all."),
    ] = None,
    stream: EachStream = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="Only files of this table; of market data this channel; repeatable."),
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Also the Parquet of these days.")
    ] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Bring days of an archive back from its bucket, each file compared with its SHA-256.

    All manifests come, too, and all certificates where neither days nor files are chosen.
    ARCHIVER_BUCKET and what begins so say which bucket, as for the archiver. Beside an archiver
    only days come back that it deleted for want of room; into an empty --root all can. Exit code 3
    if the bucket has no such day, 2 if it refuses, 4 if it is away.
    """
    from ssmd_cli.archive_bucket import fetch

    with archive_at(root, writes="fetch") as found:
        fetch(found, date, stream, table, parquet=parquet, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to `ssmd archive`."""
    verbs.verb(
        app,
        "certify",
        "ssmd archive certify --date 2026-02-03",
        "ssmd archive certify KXBTCD-26FEB03-T97500 --json",
        "ssmd archive certify --check",
    )(certify_command)
    verbs.verb(
        app,
        "fetch",
        "ssmd archive fetch --date 2026-02-03 --root day",
        "ssmd archive fetch --date 2026-02-03 --stream MARKET_DATA --table trade --table session",
    )(fetch_command)
