"""How the `ssmd` command is put together."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ssmd_cli.__main__ import VERBS, app

LISTED = (
    "import sys; sys.argv = ['ssmd', '--help']\n"
    "from ssmd_cli.__main__ import main\n"
    "try:\n    main()\nfinally:\n"
    "    print(sorted(m for m in sys.modules if m.startswith('ssmd_cli.')), file=sys.stderr)\n"
)
BROKEN = (
    "import sys; sys.argv = ['ssmd', sys.argv[1], '--help']\n"
    "sys.modules['ssmd_cli.keys'] = None\n"
    "from ssmd_cli.__main__ import main\n"
    "main()\n"
)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_help_lists_every_verb_and_imports_none() -> None:
    done = python(LISTED)
    assert done.returncode == 0
    assert all(f"  {verb} " in done.stdout for verb in VERBS)
    assert done.stderr.strip() == "['ssmd_cli.__main__']"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    done = CliRunner().invoke(app, [verb, "--help"], prog_name="ssmd")
    assert done.exit_code == 0, done.output
    assert "Usage: ssmd " + verb in done.stdout


def test_a_broken_verb_breaks_no_other() -> None:
    assert python(BROKEN, "db").returncode == 0
    assert python(BROKEN, "keys").returncode == 1


def test_an_unknown_verb_is_2_and_suggests() -> None:
    done = python("from ssmd_cli.__main__ import main; main()", "seris")
    assert done.returncode == 2
    assert "Did you mean 'series'?" in done.stderr
