"""What a status says: a fact on each line, its name first."""

import textwrap
from collections.abc import Iterable
from typing import Final

import typer

from ssmd_cli import output
from ssmd_cli.table import GAP

Fact = tuple[str, str]

_LEAST: Final = 20


def show(facts: Iterable[Fact], problems: Iterable[str] = ()) -> None:
    """Facts on stdout, what is wrong on stderr. What is longer than a terminal's line goes on below
    itself; a pipe gets one line each."""
    facts = list(facts)
    indent = max((len(name) for name, _ in facts), default=0) + GAP
    width = output.terminal_width()
    for name, text in facts:
        lines = [text]
        if width is not None:
            room = max(width - indent, _LEAST)
            lines = textwrap.wrap(text, room, break_on_hyphens=False)
        head = typer.style(f"{name:<{indent}}", dim=True)
        typer.echo(head + f"\n{'':{indent}}".join(lines))
    for problem in problems:
        typer.secho(problem, fg="yellow", err=True)
