"""The `ssmd` command: assembles the verbs, and imports a verb's module only when that verb is used.

Each verb lives in a module of its own that exposes an `app` made by `ssmd_cli.verbs`. A module that
cannot be imported fails its own verb and nothing else, and `ssmd --help` answers without importing
any.
"""

import copy
import importlib
import os
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group

from ssmd_cli.verbs import Group


class Verb(NamedTuple):
    """One word after `ssmd`. A group has sub-commands, even if only one (`ssmd exchange drift`)."""

    name: str
    summary: str
    is_group: bool = True


VERBS = {
    verb.name: verb
    for verb in (
        Verb("up", "Start a whole system on this machine.", is_group=False),
        Verb("down", "Stop the system that `ssmd up` started.", is_group=False),
        Verb("status", "Show what flows, once.", is_group=False),
        Verb("top", "Show what moves now, what closes next, and each lag.", False),
        Verb("doctor", "Check the machine and a running system; say how to mend.", is_group=False),
        Verb("db", "Migrate the database, or say which migrations are missing."),
        Verb("series", "Sync and list series."),
        Verb("secmaster", "List, show, search, export events and markets; their history."),
        Verb("fees", "Sync and list fee schedules."),
        Verb("lifecycle", "Follow lifecycle events."),
        Verb("cdc", "Follow the change stream, or say how far its publisher is."),
        Verb("md", "Follow trades, quotes and books, or say how their capture is."),
        Verb("archive", "List, read, verify, repair and certify the archive."),
        Verb("cache", "Verify or rebuild the Redis cache."),
        Verb("exchange", "Report what of the exchange this version does not know."),
        Verb("keys", "Create, list and revoke API keys."),
        Verb("profile", "Keep addresses and keys of systems under names."),
        Verb("completion", "Print what completes commands in your shell.", is_group=False),
    )
}


class VerbGroup(Group):
    """Lists the verbs from `VERBS`; imports `ssmd_cli.<verb>` when one is invoked."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for verb in VERBS.values():
            self.add_command(TyperCommand(verb.name, callback=None, help=verb.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name in VERBS:
            module = importlib.import_module(f"ssmd_cli.{name}")
            is_group = VERBS[name].is_group
            command = get_group(only(module.app, rest)) if is_group else get_command(module.app)
            command.name = name
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
            return found
        except BrokenPipeError:
            end_quietly()
            raise typer.Exit from None


def only(group: typer.Typer, words: list[str]) -> typer.Typer:
    """The group with only the verb that the words begin with, if it has it: to make all of them
    takes as long as to ask the API."""
    wanted = [one for one in group.registered_commands if words[:1] == [one.name]]
    if not wanted:
        return group
    part = copy.copy(group)
    part.registered_commands = wanted
    return part


app = typer.Typer(
    cls=VerbGroup,
    name="ssmd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`ssmd VERB --help` shows a verb's options, with examples.",
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    """A security master for Kalshi prediction markets: tables, changes, cache, archive, API."""
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"ssmd {version_of('ssmd-cli')}")
        raise typer.Exit


def main() -> None:
    """Run the command line. An error of ours is one sentence on stderr and its exit code."""
    try:
        if "_SSMD_COMPLETE" in os.environ:
            from ssmd_cli.completion import use_our_completion

            use_our_completion()
        code = get_group(app).main(prog_name="ssmd", standalone_mode=False)
    except Exception as raised:
        from ssmd_cli.failure import tell

        code = tell(raised)
        # What a full disk did not take is told once.
        try:
            sys.stdout.flush()
        except OSError:
            end_quietly()
    sys.exit(code if isinstance(code, int) else 0)


def end_quietly() -> None:
    """The reader of a pipe, such as `head`, has enough: that is no error."""
    # What is still to be flushed at the end must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
