"""The `ssmd` command: assembles the verbs, and imports a verb's module only when that verb is used.

Each verb lives in a module of its own that exposes a typer `app`. A module that cannot be imported
fails its own verb and nothing else, and `ssmd --help` answers without importing any.
"""

import importlib
import os
import sys
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group


class Verb(NamedTuple):
    """One word after `ssmd`. A group has sub-commands, even if only one (`ssmd lifecycle tail`)."""

    name: str
    summary: str
    is_group: bool = True


VERBS = {
    verb.name: verb
    for verb in (
        Verb("up", "Start a whole system on this machine.", is_group=False),
        Verb("down", "Stop the system that `ssmd up` started.", is_group=False),
        Verb("status", "Show what flows, once.", is_group=False),
        Verb("doctor", "Check the machine and a running system; say how to mend.", is_group=False),
        Verb("db", "Migrate the database, or say which migrations are missing."),
        Verb("series", "Sync and list series."),
        Verb("secmaster", "Sync, list, show, search and export events and markets; their history."),
        Verb("fees", "Sync and list fee schedules."),
        Verb("lifecycle", "Follow lifecycle events."),
        Verb("cdc", "Follow the change stream, or say how far its publisher is."),
        Verb("archive", "List, read, verify and repair what is archived of the change stream."),
        Verb("cache", "Verify or rebuild the Redis cache."),
        Verb("exchange", "Report what the exchange sends that this version does not know."),
        Verb("keys", "Create, list and revoke API keys."),
    )
}


class VerbGroup(TyperGroup):
    """Lists the verbs from `VERBS`; imports `ssmd_cli.<verb>` when one is invoked."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for verb in VERBS.values():
            self.add_command(TyperCommand(verb.name, callback=None, help=verb.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name in VERBS:
            module = importlib.import_module(f"ssmd_cli.{name}")
            command = get_group(module.app) if VERBS[name].is_group else get_command(module.app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=VerbGroup,
    name="ssmd",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """A security master for Kalshi prediction markets: mirror, change stream, cache and API."""


def main() -> None:
    """Run the command line. An error of ours is one sentence on stderr and its exit code."""
    try:
        get_group(app)(prog_name="ssmd")
    except Exception as raised:
        error = _explained(raised)
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None:
            raise
        from ssmd_cli.environment import advice

        typer.echo(f"ssmd: {error}{advice(error)}", err=True)
        sys.exit(int(exit_code))


def _explained(error: Exception) -> Exception:
    """The error as one of ours, if the database refused what its operator can mend."""
    if "psycopg" not in sys.modules:
        return error
    from pydantic import SecretStr

    from ssmd_common.connections.rights import explained

    url = os.environ.get("DATABASE_URL")
    return explained(error, SecretStr(url) if url else None) or error


if __name__ == "__main__":
    main()
