"""Moments of the past as options name them: one moment for all requests of a command."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from ssmd_common.times import UNIT_SECONDS

_AGO: Final = re.compile(r"-?(\d{1,12})([smhdw])", re.ASCII)


def ago(text: str) -> datetime | None:
    """So long ago (`24h` or `-24h`); None for another text.

    Raises:
        BadParameter: no time is so long ago.
    """
    found = _AGO.fullmatch(text)
    if found is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=int(found[1]) * UNIT_SECONDS[found[2]])
    except OverflowError:
        raise typer.BadParameter(f"{text} is before all times") from None


def moment(text: str) -> str:
    """How long ago as a time; what else there is, the API judges."""
    at = ago(text)
    return text if at is None else at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        parser=moment,
        metavar="TIME",
        help="As this database knew it then: a time, or how long ago (24h). No market data.",
    ),
]
