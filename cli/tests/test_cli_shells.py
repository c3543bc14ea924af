"""Completion in real shells: what a person types before the tab, and what stands there after it."""

import shutil
import sys
from pathlib import Path
from typing import Final

import pytest
from shell import Shell
from terminals import Terminal

from ssmd_stack.database import Database

SHELLS: Final = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "--no-rcs", "-i"),
    "fish": ("fish", "--no-config", "--interactive"),
}
# As docs/cli.md says, each ended by a line that nobody types.
READY: Final = {
    "bash": "PS1='$ '; source <(ssmd completion bash); clear",
    "zsh": "mkdir .zfunc; ssmd completion zsh > .zfunc/_ssmd; fpath+=(.zfunc); PS1='$ ';"
    " autoload -U compinit; compinit -D -u; clear",
    "fish": "function fish_prompt; echo '$ '; end; function fish_greeting; end;"
    " ssmd completion fish | source; clear",
}
# What an exchange may call something, and no shell may run.
TITLE: Final = r"""It's "x" \$(touch ran) `touch ran` \`touch ran` ${x:=y} (a:b) [c]; * \\"""


async def fill(database: Database) -> None:
    async with database.connect() as connection:
        for ticker in ("KXRAIN", "KXRAINNYC"):
            await connection.execute(
                "INSERT INTO series (ticker, title, category) VALUES (%s, %s, %s)",
                (ticker, TITLE, "Climate and Weather"),
            )


@pytest.mark.parametrize("kind", SHELLS)
async def test_a_real_shell_completes_verbs_series_and_categories(
    shell: Shell, database: Database, kind: str
) -> None:
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not here (Debian: apt-get install {kind})")
    await fill(database)
    bin_directory = Path(sys.executable).parent
    variables = {
        **shell.variables,
        "PATH": f"{bin_directory}:/usr/bin:/bin",
        "HOME": str(shell.directory),
    }
    async with Terminal(
        program=SHELLS[kind], cwd=shell.directory, columns=150, **variables
    ) as terminal:

        async def typed(text: str, *shown: str) -> None:
            terminal.press(text.encode())
            await terminal.shows(*shown)

        terminal.press(f"{READY[kind]}\n".encode())
        await terminal.is_just("$")
        await typed("ssmd secm\t", "$ ssmd secmaster")
        await typed("lis\t", "$ ssmd secmaster list")
        await typed("--series KXB\t", "$ ssmd secmaster list --series KXBTCD")
        # One that begins others, and a title with everything.
        await typed("\x15ssmd fees list KXR\t", "$ ssmd fees list KXRAIN")
        await typed("\t\t", "KXRAINNYC")
        # What is no name of the API's is a file.
        (shell.directory / "report.csv").touch()
        await typed("\x15\x0cssmd secmaster export --file rep\t", "--file report.csv")
        # One with spaces is one word, whatever its case was.
        await typed("\x15\x0cssmd series list --category cl\t", "Weather")
        await typed("-o jsonl\n", '"ticker":"KXRAIN"', '"ticker":"KXRAINNYC"')
    assert not (shell.directory / "ran").exists()
