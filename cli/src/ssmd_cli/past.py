"""Moments of the past as options name them: one moment for all requests of a command."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from ssmd_common.times import UNIT_SECONDS

_AGO: Final = re.compile(r"-(\d{1,6})([smhdw])", re.ASCII)


def moment(text: str) -> str:
    """How long ago (`-24h`) as a time; what else there is, the API judges."""
    if ago := _AGO.fullmatch(text):
        try:
            at = datetime.now(UTC) - timedelta(seconds=int(ago[1]) * UNIT_SECONDS[ago[2]])
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
