"""What several verbs share: options, and where their environment comes from."""

from typing import Annotated

import typer

from ssmd_cli.environment import load_env_file

AsJson = Annotated[bool, typer.Option("--json", help="Print whole rows as JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print whole rows as CSV.")]
Limit = Annotated[int, typer.Option(min=0, help="Rows at most; 0 for all.")]
Category = Annotated[str | None, typer.Option(help="A category, spelled as the exchange does.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="One of these tags; repeatable.")]
GamesOnly = Annotated[bool, typer.Option("--games-only", help="Only series of single games.")]
Words = Annotated[str | None, typer.Option("--q", help="Words in the ticker or title.")]


def use_local_system() -> None:
    """Before a verb runs: what is not set comes from a system that `ssmd up` runs here."""
    load_env_file()
