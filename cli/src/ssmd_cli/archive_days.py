"""`ssmd archive compact`, `query` and `replay`: archived days as they are worked with."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.archive_root import AsJson, EachStream, Root, archive_at
from ssmd_cli.options import AsCsv, Output
from ssmd_common.exitcodes import ExitCode

_MOMENT = "a time (2026-02-03T22:00:00Z), an age (15m, 24h, 7d) or a day (2026-02-03)"


def compact_command(
    date: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="This day, UTC; else each one that is over."),
    ] = None,
    stream: EachStream = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also a day that is not over; it is marked so.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also days that are compacted already.")
    ] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write days of the archive as Parquet, beside the sealed files, which stay.

    Without --stream all streams that there are. A day that is compacted is left as it is while its
    files are. Exit code 5 if messages of a day are missing; 1 if a file of a day is not as it was
    sealed: that day is left out and named, the others are compacted.
    """
    from ssmd_cli.archive_compact import compact

    with archive_at(root, writes="compact") as found:
        code = compact(found, stream, date, partial=partial, again=again, as_json=as_json)
    if code:
        raise typer.Exit(code)


def query_command(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, of DuckDB.")],
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write here; its name says how: .csv, .jsonl, .parquet, else JSON."
        ),
    ] = None,
    date: Annotated[
        list[str] | None,
        typer.Option(metavar="YYYY-MM-DD", help="Only this day, UTC; repeatable. Else all."),
    ] = None,
    root: Root = None,
    wanted: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="All rows as JSON.")] = False,
    as_csv: AsCsv = False,
) -> None:
    """Ask compacted days in SQL.

    Tables are views: trade, ticker, book, session, markets, events … Each has `day` and `_stream`
    beside its own columns; `SHOW TABLES` and `DESCRIBE trade` list them. Nothing is written, and
    no other file is read. Exit code 2 if DuckDB refuses the question, 3 if no day is compacted.
    """
    from ssmd_cli import output
    from ssmd_cli.archive_query import query

    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    with archive_at(root) as found:
        query(found, sql, style, file, date or [])


def replay_command(
    since: Annotated[str | None, typer.Option("--from", help=f"From here on: {_MOMENT}.")] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Up to here, without it; of a day: with the day.")
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; repeatable. Else all there are.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Only this channel, or table of changes; repeatable."),
    ] = None,
    series: Annotated[str | None, typer.Option(help="Only of this series, by ticker.")] = None,
    ticker: Annotated[str | None, typer.Option(help="Only about this market.")] = None,
    speed: Annotated[
        float | None,
        typer.Option(metavar="N", help="1: in the time it took, 10: in a tenth; else at once."),
    ] = None,
    to_nats: Annotated[
        str | None,
        typer.Option(metavar="SUBJECT", help="Publish below this subject of NATS_URL instead."),
    ] = None,
    root: Root = None,
) -> None:
    """Give archived messages again, in the order in which they were stored, as lines of JSON.

    Between streams the order is that of their times. What is missing is a line of its own in its
    place. With --to-nats a message goes to SUBJECT.<its subject>, with an id of its own, into
    whatever stream takes it. Exit code 5 if something was missing.
    """
    import asyncio

    from ssmd_cli.archive_replay import replay

    with contextlib.suppress(KeyboardInterrupt), archive_at(root) as found:
        is_complete = asyncio.run(
            replay(
                found,
                since,
                until,
                streams=stream or None,
                channels=channel or None,
                series=series,
                ticker=ticker,
                speed=speed,
                to_nats=to_nats,
            )
        )
        if not is_complete:
            raise typer.Exit(ExitCode.PARTIAL)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to `ssmd archive`."""
    verbs.verb(
        app,
        "compact",
        "ssmd archive compact",
        "ssmd archive compact --date 2026-02-03 --stream MARKET_DATA",
    )(compact_command)
    verbs.verb(
        app,
        "query",
        "ssmd archive query \"SELECT ticker, sum(count) FROM trade WHERE day = '2026-02-03' "
        'GROUP BY ALL"',
        "ssmd archive query 'DESCRIBE markets' --json",
    )(query_command)
    verbs.verb(
        app,
        "replay",
        "ssmd archive replay --from 2026-02-03 --to 2026-02-03 --series KXBTCD",
        "ssmd archive replay --from 1h --channel trade --speed 10 --to-nats backtest",
    )(replay_command)
