"""`ssmd archive …`: what is kept of the streams as files."""

import contextlib
from pathlib import Path
from typing import Annotated, Final

import typer

from ssmd_cli import archive_days, archive_proof, verbs
from ssmd_cli.archive_root import AsJson, EachStream, Root, Stream, archive_at
from ssmd_cli.options import AsCsv, Output
from ssmd_common.exitcodes import ExitCode

app = verbs.group("List, read, verify and repair what is archived of the streams.")

_PLACE: Final = (
    "a time (2026-02-03T22:00:00Z), an age (15m, 24h, 7d) or a sequence: 1042 of the newest chain, "
    "2:1042 of chain 2"
)


@verbs.verb(app, "ls", "ssmd archive ls --json", "ssmd archive ls --stream MARKET_DATA")
def ls_command(stream: Stream = None, root: Root = None, as_json: AsJson = False) -> None:
    """List the days, what is lost, and the spans that are complete, from manifests alone."""
    from ssmd_cli.archive_show import ls

    with archive_at(root) as found:
        ls(found, stream, as_json=as_json)


@verbs.verb(
    app,
    "cat",
    "ssmd archive cat --since 24h --series KXBTCD --type market_settled",
    "ssmd archive cat --since 2026-02-03T22:00:00Z --until 2026-02-03T22:15:00Z --json",
    "ssmd archive cat --stream MARKET_DATA --table trade --series KXBTC15M --since 1h",
)
def cat_command(
    series: Annotated[str | None, typer.Option(help="Only this series, by ticker.")] = None,
    table: Annotated[
        str | None, typer.Option(help="Only this table; of market data this channel.")
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Only this type, e.g. market_settled.")
    ] = None,
    stream: Stream = None,
    since: Annotated[str | None, typer.Option(help=f"From here on: {_PLACE}.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Up to here: of a time without it, of a sequence with it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    root: Root = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One archived line each, as it is in the files.")
    ] = False,
) -> None:
    """Show archived messages in the stream's order; what was lost between them is said on stderr.

    A time is that at which the stream stored a message.
    """
    from ssmd_cli.archive_cat import cat
    from ssmd_cli.archive_streams import messages_of

    with contextlib.suppress(KeyboardInterrupt), archive_at(root) as found:
        wanted = messages_of(stream, series, table, type_)
        cat(found, stream, wanted, since, until, limit=limit, as_json=as_json)


@verbs.verb(app, "state", "ssmd archive state --at 2026-02-03T22:00:00Z --table markets --json")
def state_command(
    at: Annotated[
        str | None, typer.Option(metavar="PLACE", help=f"As of here, else of the end: {_PLACE}.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Its rows, else how many each has.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Rows at most, 0 for all; by default 100 in a table.")
    ] = None,
    root: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="One row a line, as JSON.")] = False,
) -> None:
    """Rebuild the rows as of a moment, from files alone.

    Exit code 5 if changes were lost or unreadable since the state that the rows come from: rows may
    be older then.
    """
    from ssmd_cli.archive_show import state

    with archive_at(root) as found:
        is_complete = state(found, at, table, limit=limit, as_json=as_json)
    if not is_complete:
        raise typer.Exit(ExitCode.PARTIAL)


@verbs.verb(app, "tickers", "ssmd archive tickers --date 2026-02-03 --table markets --csv")
def tickers_command(
    date: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The day, UTC.")],
    table: Annotated[str | None, typer.Option(help="Only series, events or markets.")] = None,
    root: Root = None,
    wanted: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="All as JSON.")] = False,
    as_csv: AsCsv = False,
) -> None:
    """List what existed or changed on a day. Exit code 5 if changes of that day were lost."""
    from ssmd_cli import output
    from ssmd_cli.archive_show import tickers

    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    with archive_at(root) as found:
        is_complete = tickers(found, date, table, style)
    if not is_complete:
        raise typer.Exit(ExitCode.PARTIAL)


@verbs.verb(app, "verify", "ssmd archive verify --deep", "ssmd archive verify --bucket")
def verify_command(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read each message, too, not only the files' hashes.")
    ] = False,
    head: Annotated[
        str | None,
        typer.Option(metavar="SHA256", help="What an earlier run said: it must still be a line's."),
    ] = None,
    stream: EachStream = None,
    bucket: Annotated[
        bool,
        typer.Option(
            "--bucket", help="What is in ARCHIVER_BUCKET, every object read; --root is not used."
        ),
    ] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Compare all files with the manifests, and these with themselves; may run beside the archiver.

    Without --stream all streams that there are; --head is then of SECMASTER_CDC.
    Exit code 6 if something is wrong: a line each says where.
    """
    from ssmd_cli.archive_verify import verify

    with archive_at(root, in_bucket=bucket) as found:
        is_whole = verify(found, stream, deep=deep, head=head, as_json=as_json)
    if not is_whole:
        raise typer.Exit(ExitCode.DRIFT)


@verbs.verb(
    app,
    "coverage",
    "ssmd archive coverage --date 2026-02-03",
    "ssmd archive coverage --ticker KXBTCD-26FEB03-T97500 --channel book --json",
    "ssmd archive coverage --svg coverage.svg",
)
def coverage_command(
    date: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The day, UTC; else the newest.")
    ] = None,
    ticker: Annotated[str | None, typer.Option(help="Only this market.")] = None,
    series: Annotated[str | None, typer.Option(help="Only books of this series.")] = None,
    channel: Annotated[
        str | None, typer.Option(metavar="CHANNEL", help="Only trade, ticker or book.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the timeline as a picture, too.")
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show when market data were captured whole, from the capture's own records.

    Exit code 3 if nothing of that day is archived.
    """
    from ssmd_cli.archive_coverage import coverage

    with archive_at(root) as found:
        coverage(found, date, ticker, series, channel, svg, as_json=as_json)


@verbs.verb(app, "repair", "ssmd archive repair --dry-run")
def repair_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    without_stream: Annotated[
        bool,
        typer.Option("--without-stream", help="Do not ask NATS: what no file has counts as lost."),
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for the archiver's end.")
    ] = 0.0,
    stream: Stream = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Mend what `verify` finds from the stream, and mark as lost what it does not hold any more.

    The archiver must not run meanwhile. What is replaced is kept in the archive's folder `aside`.
    Exit code 5 if something was lost for good, 4 if NATS does not answer: nothing is changed then.
    """
    import asyncio

    from ssmd_cli.archive_repair import repair

    with archive_at(root, writes="repair") as found:
        is_lost = asyncio.run(
            repair(
                found,
                stream,
                dry_run=dry_run,
                without_stream=without_stream,
                wait_seconds=wait,
                as_json=as_json,
            )
        )
    if is_lost:
        raise typer.Exit(ExitCode.PARTIAL)


archive_proof.add_to(app)
archive_days.add_to(app)
