"""How the `ssmd` command is put together: what it imports, how its help reads, how it refuses."""

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from ssmd_cli.__main__ import VERBS, app

LISTED = (
    "import sys; sys.argv = ['ssmd', *sys.argv[1:]]\n"
    "from ssmd_cli.__main__ import main\n"
    "try:\n    main()\nfinally:\n"
    "    print(*sorted(sys.modules), file=sys.stderr)\n"
)
BROKEN = (
    "import sys; sys.argv = ['ssmd', sys.argv[1], '--help']\n"
    "sys.modules['ssmd_cli.keys'] = None\n"
    "from ssmd_cli.__main__ import main\n"
    "main()\n"
)
MAIN = "from ssmd_cli.__main__ import main; main()"

# What a read verb may import that is not Python's own; each cost is told in decision 0041.
LIGHT = {"msgspec", "ssmd_cli", "ssmd_client", "ssmd_common", "typer", "typing_extensions"}
LIGHT |= {"annotated_doc", "shellingham", "sitecustomize", "urllib3"}
# urllib3 reads zstd with it, where a service beside the command line has brought it.
LIGHT |= {"backports"}
HEAVY = {"aiohttp", "asyncio", "psycopg", "pydantic", "redis", "rich", "structlog", "nats"}


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def commands() -> Iterator[tuple[str, Any]]:
    """Every verb that can be run, with its name as one types it."""
    group: Any = get_group(app)
    context = group.make_context("ssmd", ["up"])
    for verb, described in VERBS.items():
        _, command, _ = group.resolve_command(context, [verb])
        if described.is_group:
            yield from ((f"{verb} {name}", each) for name, each in command.commands.items())
        else:
            yield verb, command


COMMANDS = dict(commands())


def test_help_lists_every_verb_and_imports_none() -> None:
    done = python(LISTED, "--help")
    assert done.returncode == 0
    assert all(f"  {verb} " in done.stdout for verb in VERBS)
    assert "..." not in done.stdout.split("Commands:")[1], "a summary is cut"
    ours = {name for name in done.stderr.split() if name.startswith("ssmd_cli.")}
    assert ours == {"ssmd_cli.__main__", "ssmd_cli.verbs", "ssmd_cli.arguments", "ssmd_cli.nearest"}
    assert not HEAVY.intersection(done.stderr.split())


@pytest.mark.parametrize(
    "words",
    [
        ["secmaster", "list", "--status", "open", "--limit", "5"],
        ["secmaster", "show", "KXBTCD"],
        ["secmaster", "search", "bitcoin"],
        ["secmaster", "export"],
        ["secmaster", "stats"],
        ["series", "list", "-o", "csv"],
        ["fees", "list"],
        ["profile", "list"],
    ],
    ids=" ".join,
)
def test_a_read_verb_imports_what_it_needs(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers there, which is found out only once all is imported."""
    monkeypatch.setenv("SSMD_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SSMD_DATA_API_KEY", "sk_test_x_y")
    done = python(LISTED, *words)
    assert done.returncode == (0 if words[0] == "profile" else 4), done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
    foreign = {name for name in loaded if name not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith(("_", "__"))} <= LIGHT
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("words", "seconds"), [(["--help"], 0.2), (["secmaster", "list", "--limit", "5"], 0.3)]
)
def test_a_command_starts_at_once(
    words: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processor time, the least of some runs: what else runs meanwhile counts little."""
    monkeypatch.setenv("SSMD_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SSMD_DATA_API_KEY", "sk_test_x_y")
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(MAIN, *words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < seconds


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_says_what_it_does_and_shows_an_example(name: str) -> None:
    command = COMMANDS[name]
    first = command.help.strip().splitlines()[0]
    assert first.endswith((".", ",", ";")) or len(command.help.split("\n\n")[0]) > len(first)
    assert first[0].isupper()
    assert "xample" not in command.help, "examples stand in their own section"
    examples = command.epilog.splitlines()
    assert examples, "it has no example"
    for example in examples:
        assert f"ssmd {name}" in example
        assert len(example) <= 98
    context = command.make_context("ssmd", [], resilient_parsing=True)
    shown = command.get_help(context)
    assert f"  {examples[0]}\n" in f"{shown}\n"
    for parameter in command.get_params(context):
        assert parameter.help, f"{parameter.name} has no help"
        assert (
            parameter.help[0].isupper()
            or not parameter.help[0].isalpha()
            or (parameter.help.split()[0].rstrip(":,;") != "the")
        )
        assert "<" not in (parameter.metavar or ""), parameter.name
    # An argument is shown as it is typed: no Python types, no braces.
    assert not re.search(r"[{}]|<(str|list)", shown.partition("Options:")[0])


@pytest.mark.parametrize("group", [name for name, verb in VERBS.items() if verb.is_group])
def test_a_list_of_verbs_says_what_each_does_to_the_end(group: str) -> None:
    done = CliRunner().invoke(app, [group, "--help"], prog_name="ssmd")
    assert done.exit_code == 0, done.output
    _, _, listed = done.stdout.partition("Commands:\n")
    assert "..." not in listed
    assert all(len(line) <= 80 for line in listed.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    done = CliRunner().invoke(app, [verb, "--help"], prog_name="ssmd")
    assert done.exit_code == 0, done.output
    assert "Usage: ssmd " + verb in done.stdout


def test_the_version_is_said() -> None:
    done = python(MAIN, "--version")
    assert (done.returncode, done.stdout[:5], done.stderr) == (0, "ssmd ", "")


def test_a_broken_verb_breaks_no_other() -> None:
    assert python(BROKEN, "db").returncode == 0
    assert python(BROKEN, "keys").returncode == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seris"], "Did you mean 'series'?"),
        (["secmaster", "lst"], "Did you mean 'list'?"),
        (["secmaster", "list", "--limit", "-1"], "ssmd: --limit: -1 is less than 0"),
        (["secmaster", "list", "--limit", "x"], "ssmd: --limit: 'x' is not a whole number"),
        (["secmaster", "list", "--status", "aktive"], "did you mean active?"),
        (["secmaster", "list", "--lmit", "1"], "ssmd: there is no option --lmit; did you mean"),
        (["secmaster", "search"], "ssmd: WORDS: is missing"),
        (["top", "--every", "0"], "ssmd: --every: 0.0 is less than 0.5"),
        (["up", "--population", "/nowhere"], "ssmd: --population: there is no /nowhere"),
        (["secmaster", "list", "-o", "xml"], "'xml' is not one of table, json"),
        (["secmaster", "export", "-o", "all.csv"], "a file's name is given with --file"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_our_words(words: list[str], sentence: str) -> None:
    done = python(MAIN, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    for foreign in ("Value error", "Invalid value", "Input should", "Error:", "Traceback"):
        assert foreign not in done.stderr


def test_commands_of_one_verb_are_made_alone_and_all_for_help() -> None:
    group: Any = get_group(app)
    context = group.make_context("ssmd", ["up"])
    assert list(group.resolve_command(context, ["cdc", "tail"])[1].commands) == ["tail"]
    assert list(group.resolve_command(context, ["cdc", "nothing"])[1].commands) == [
        "tail",
        "status",
    ]
