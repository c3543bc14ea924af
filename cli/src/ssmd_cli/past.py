"""Moments of the past as options name them: one moment for all requests of a command."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

_AGO: Final = re.compile(r"-(\d{1,6})([smhdw])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str) -> str:
    """How long ago (`-24h`) as a time; what else there is, the API judges."""
    if ago := _AGO.fullmatch(text):
        try:
            at = datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        except OverflowError:
            raise typer.BadParameter(f"{text} is before all times") from None
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return text


AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        parser=moment,
        metavar="TIME",
        help="As this database knew it then: a time (ISO 8601), or -24h. No market data.",
    ),
]
