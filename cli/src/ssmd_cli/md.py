"""`ssmd md tail|book|status`: market data as it comes, and how its capture is."""

import asyncio
import contextlib
from enum import StrEnum
from typing import Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.environment import load_env_file, quiet_logs
from ssmd_common.exitcodes import ExitCode

app = verbs.group("Follow trades, quotes and books, or see how their capture is.")


class Channel(StrEnum):
    TRADE = "trade"
    TICKER = "ticker"
    BOOK = "book"
    SESSION = "session"
    UNREADABLE = "unreadable"


@verbs.verb(
    app,
    "tail",
    "ssmd md tail --channel trade --series KXBTC15M",
    "ssmd md tail --ticker KXBTCD-26FEB03-T97500 --since 1h --json > one.jsonl",
)
def tail_command(
    channel: Annotated[
        Channel | None, typer.Option(help="Only this; by default trades and quotes.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Only this series, by ticker.")] = None,
    ticker: Annotated[str | None, typer.Option(help="Only this market.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="From here on, else only what is new: a stream sequence (1042), a time "
            "(2026-02-03T22:00:00Z) or an age (15m, 24h)."
        ),
    ] = None,
    shard: Annotated[
        int, typer.Option(min=0, help="With --channel book: the stream of this shard.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many messages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One message a line, as it is.")] = False,
) -> None:
    """Show market data as it is captured, until Ctrl-C."""
    from ssmd_cli.md_tail import Wanted, tail
    from ssmd_cli.since import Lsn, parse_since
    from ssmd_common.errors import ConfigurationError
    from ssmd_common.settings import NatsSettings, load

    load_env_file()
    quiet_logs()
    settings = load(NatsSettings)
    start = parse_since(since, forms="stream sequence (1042)")
    if isinstance(start, Lsn):
        raise ConfigurationError(
            f"--since {since} is an LSN, which market data have none of: give a stream sequence, "
            "a time or an age"
        )
    wanted = Wanted(None if channel is None else channel.value, series, ticker, shard)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(tail(settings, wanted, start, limit=limit, as_json=as_json))


@verbs.verb(app, "book", "ssmd md book KXBTCD-26FEB03-T97500", "ssmd md book TICKER --once --json")
def book_command(
    ticker: Annotated[str, typer.Argument(metavar="TICKER", help="A market.")],
    levels: Annotated[
        int, typer.Option(min=1, max=99, help="Levels of each side, where there is room.")
    ] = 10,
    once: Annotated[bool, typer.Option("--once", help="Print the book as it is, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: for programs.")] = False,
) -> None:
    """Show a market's order book as it changes; q ends it. Prices are what YES costs.

    Exit code 3 if no book of that market is captured.
    """
    import sys

    from ssmd_cli.md_book import live, print_once
    from ssmd_common.errors import ConfigurationError
    from ssmd_common.settings import NatsSettings, load

    if as_json and not once:
        raise ConfigurationError("--json: needs --once")
    if not once and not sys.stdout.isatty():
        raise ConfigurationError("book draws on a terminal: elsewhere give --once")
    load_env_file()
    quiet_logs()
    settings = load(NatsSettings)
    if once:
        asyncio.run(print_once(settings, ticker, levels, as_json=as_json))
    else:
        live(settings, ticker, levels)


@verbs.verb(app, "status", "ssmd md status --json")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show connections, subscriptions, rates, gaps and the age of what is captured.

    Exit code 3 if there is no stream of market data, 1 if something is not as it should be.
    """
    from ssmd_cli import output
    from ssmd_cli.md_status import document, look, show
    from ssmd_common.settings import NatsSettings, load

    load_env_file()
    quiet_logs()
    found = asyncio.run(look(load(NatsSettings)))
    if as_json:
        output.document(document(found))
    else:
        show(found)
    if not found.streams:
        raise typer.Exit(ExitCode.NOT_FOUND)
    if found.problems:
        raise typer.Exit(ExitCode.FAILED)
