"""What several verbs share: options, and where their environment comes from."""

from enum import StrEnum
from typing import Annotated

import typer

from ssmd_cli import complete
from ssmd_cli.environment import load_env_file
from ssmd_cli.output import Format

Environment = Annotated[
    str | None,
    typer.Argument(
        metavar="[PROFILE]",
        help="The profile of the system to ask; by default as `ssmd profile list` says.",
        autocompletion=complete.profiles,
    ),
]
Output = Annotated[
    Format | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT",
        help="table (some columns only), json, jsonl, csv or parquet.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print all as JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print all as CSV.")]
Fields = Annotated[
    str | None,
    typer.Option(help="Columns, with commas between: ticker,close_time,event.title."),
]
Watch = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.2,
        max=3600,
        help="Ask again so often, until Ctrl-C. With -o jsonl: write what is new or changed.",
    ),
]
Limit = Annotated[int, typer.Option(min=0, help="Rows at most; 0 for all.")]
Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        help="One of these categories, spelled as the exchange does; repeatable.",
        autocompletion=complete.categories,
    ),
]
Series = Annotated[
    str | None,
    typer.Option(help="What belongs to this series.", autocompletion=complete.series),
]
SomeSeries = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        help="What belongs to one of these series; repeatable.",
        autocompletion=complete.series,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILTER",
        help="Any filter of the API's, such as open_interest.gte=5 or close_time.null=true; "
        "repeatable.",
    ),
]


class Kinds(StrEnum):
    """Whether a list has multivariate markets."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    ONLY = "only"


Multivariate = Annotated[
    Kinds | None,
    typer.Option(
        "--multivariate",
        metavar="KINDS",
        help="Markets that combine others: exclude (by default), include, or only these.",
    ),
]


class Counted(StrEnum):
    """How a whole list is counted."""

    EXACT = "exact"
    ESTIMATED = "estimated"


Count = Annotated[
    Counted | None,
    typer.Option(
        metavar="HOW", help="Also say how many there are in all: exact, or estimated at once."
    ),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="One of these tags; repeatable.")]
GamesOnly = Annotated[bool, typer.Option("--games-only", help="Only series of single games.")]
Words = Annotated[str | None, typer.Option("--q", help="Words in the ticker or title.")]


def use_local_system() -> None:
    """Before a verb runs: what is not set comes from a system that `ssmd up` runs here."""
    load_env_file()
