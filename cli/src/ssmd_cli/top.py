"""`ssmd top`: what moves now."""

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ssmd_cli import output, verbs
from ssmd_cli.options import Environment
from ssmd_common.errors import ConfigurationError

if TYPE_CHECKING:
    from ssmd_cli.top_feed import Feed

app = verbs.single()


@verbs.verb(app, "top", "ssmd top", "ssmd top prod --every 5", "ssmd top --once --json")
def top_command(
    environment: Environment = None,
    every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.5, max=60, help="How often markets and services are asked for."
        ),
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Listen for five seconds, print the picture, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: for programs.")] = False,
) -> None:
    """Show what moves now: changes a second by type and category, what closes next, each lag.

    Keys: q ends it. Everything comes from the API.
    """
    from ssmd_cli.environment import load_env_file
    from ssmd_cli.top_feed import Feed

    if as_json and not once:
        raise ConfigurationError("--json: needs --once")
    if not once and not sys.stdout.isatty():
        raise ConfigurationError("top draws on a terminal: elsewhere give --once")
    load_env_file()
    feed = Feed(environment, every)
    url = feed.start()
    if once:
        _once(feed, url, as_json=as_json)
        return
    from ssmd_cli.screen import Screen
    from ssmd_cli.top_picture import picture

    with Screen() as screen:
        while True:
            with feed.known.lock:
                lines = picture(
                    feed.known,
                    url,
                    datetime.now(UTC),
                    time.monotonic(),
                    screen.size,
                    styled=output.is_bold(),
                    keys="q ends",
                )
            screen.show(lines)
            if screen.waits(0.5):
                return


def _once(feed: "Feed", url: str, *, as_json: bool) -> None:
    from ssmd_cli.top_picture import NOW_SECONDS, document, picture

    # Whole seconds are counted: the one in which it began is none.
    time.sleep(NOW_SECONDS + 1)
    known = feed.known
    with known.lock:
        if as_json:
            output.document(document(known, datetime.now(UTC), time.monotonic()))
            return
        width = output.terminal_width() or 120
        lines = picture(known, url, datetime.now(UTC), time.monotonic(), (width, 60), styled=False)
    for line in lines:
        print(line)
