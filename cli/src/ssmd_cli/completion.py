"""`ssmd completion`: what completes commands, series and categories in a shell."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from ssmd_cli import verbs

app = verbs.single()

VARIABLE = "_SSMD_COMPLETE"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@verbs.verb(
    app,
    "completion",
    "source <(ssmd completion bash)",
    "ssmd completion zsh > ~/.zfunc/_ssmd",
    "ssmd completion fish > ~/.config/fish/completions/ssmd.fish",
)
def completion_command(
    shell: Annotated[Shell, typer.Argument(help="Which one you use.")],
) -> None:
    """Print what your shell has to read to complete verbs, options, series and categories.

    Names of series and categories come from the API, with the address and the key that the command
    would use; without them only verbs and options are completed.
    """
    from typer import completion

    script: Any = vars(completion)["get_completion_script"]
    typer.echo(script(prog_name="ssmd", complete_var=VARIABLE, shell=str(shell)))


def use_our_completion() -> None:
    """Let typer answer a shell that asks for completions, without rich to clean their texts."""
    from typer import _completion_classes, completion

    vars(completion)["completion_init"]()
    _completion_classes._sanitize_help_text = lambda text: text  # noqa: SLF001
