"""How every verb is put together: one style of help with examples, one of what is wrong.

Typer reads a verb's parameters from its signature. It converts their values with pydantic, whose
import and models take longer than a whole read verb may; values here are texts, numbers, choices
and paths, which `ssmd_cli.arguments` converts itself, in our own words.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from ssmd_cli.arguments import convert_lightly

F = TypeVar("F", bound=Callable[..., Any])

_HELP: Final = {"help_option_names": ["-h", "--help"]}


class _Light:
    """A command whose parameters, `--help` among them, are converted lightly."""

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in found:
            convert_lightly(parameter)
        return found


class Command(_Light, TyperCommand):
    """Its epilog is its examples, a line each, which are shown as they are."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """What a list of verbs says of it: what it does, whole. More is in its own help."""
        del limit
        does = re.split(r"[;.](?:\s|$)", " ".join((self.help or "").split()), maxsplit=1)[0]
        return f"{does}."

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        del ctx
        if not self.epilog:
            return
        lines = self.epilog.splitlines()
        with formatter.section("Examples" if len(lines) > 1 else "Example"):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(_Light, TyperGroup):
    """Verbs with a word before them, such as `ssmd cdc`."""


def group(summary: str, before: Callable[[], None] | None = None) -> typer.Typer:
    """An app of several verbs; `before` runs before each of them."""
    return typer.Typer(
        cls=Group,
        help=summary,
        callback=before or _nothing,
        no_args_is_help=True,
        context_settings=_HELP,
        **_PLAIN,
    )


def single() -> typer.Typer:
    """An app of one verb."""
    return typer.Typer(**_PLAIN)


def verb(app: typer.Typer, name: str, *examples: str) -> Callable[[F], F]:
    """Adds a verb with its examples: whole commands, as one would type them."""
    return app.command(name, cls=Command, epilog="\n".join(examples), context_settings=_HELP)


def _nothing() -> None:
    """Nothing has to be done before the verbs."""


_PLAIN: Final[dict[str, Any]] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}
