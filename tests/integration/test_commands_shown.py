"""Every `ssmd` command that we show to users is one that `ssmd` understands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group

from ssmd_cli.__main__ import VERBS, app

ROOT = Path(__file__).parents[2]
SHOWN_IN = [
    *["README.md", "compose.yaml"],
    *["deploy/helm/ssmd/templates/NOTES.txt", "deploy/helm/ssmd/templates/tests/api.yaml"],
    # Decisions tell of their time, and may show what is gone.
    *(
        page.relative_to(ROOT).as_posix()
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page.parent.name != "decisions"
    ),
]
_VERB = "|".join(VERBS)
# Up to a comment, a pipe or a file that it reads or writes; of what is quoted all.
_IN_SHELL = re.compile(rf"""\bssmd ((?:{_VERB})\b(?: (?![<>] )|"[^"\n]*"|[^ `\n#|)…\["])*)""")
_IN_COMPOSE = re.compile(rf"run --rm migrate ((?:{_VERB})\b.*)")
_IN_JSON = re.compile(r'"args":\[(.*?)\]')


def shown(page: str) -> list[list[str]]:
    text = (ROOT / page).read_text()
    commands = [
        shlex.split(found[1])
        for found in _IN_SHELL.finditer(text)
        # `ssmd cdc status|tail` names several.
        if not re.match(r"\|\w", text[found.end() :])
    ]
    commands += [shlex.split(found) for found in _IN_COMPOSE.findall(text)]
    return commands + [re.findall(r'"([^"]+)"', found) for found in _IN_JSON.findall(text)]


# A group's name alone is a mention ("ssmd secmaster"), not a command.
COMMANDS = [
    (page, command)
    for page in SHOWN_IN
    for command in shown(page)
    if len(command) > 1 or not VERBS[command[0]].is_group
]


def test_commands_are_found_at_all() -> None:
    assert {page for page, _ in COMMANDS} >= {
        "README.md", "compose.yaml", "docs/operations.md",
        "deploy/helm/ssmd/templates/NOTES.txt", "deploy/helm/ssmd/templates/tests/api.yaml",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda part: str(part)[:60])
def test_a_command_that_is_shown_can_be_parsed(page: str, command: list[str]) -> None:
    del page
    parse(get_group(app), command)


def test_the_contract_lists_every_command() -> None:
    paragraph = re.search(r"(?m)^`ssmd up(?:.+\n)+", (ROOT / "docs/contracts.md").read_text())
    assert paragraph
    listed = set()
    for words in re.findall(r"`ssmd ([^`]+)`", paragraph[0]):
        group, _, names = words.rpartition(" ")
        listed |= {f"{group} {command}".strip() for command in names.split("|")}
    assert listed == set(commands())


def commands() -> Iterator[str]:
    group: Any = get_group(app)
    context = group.make_context("ssmd", ["up"])
    for verb, described in VERBS.items():
        _, command, _ = group.resolve_command(context, [verb])
        yield from (f"{verb} {name}" for name in command.commands) if described.is_group else [verb]


def test_options_in_the_contract_are_those_of_the_commands() -> None:
    contract = (ROOT / "docs/contracts.md").read_text()
    shown = re.findall(r"`ssmd (\w+ \w+) (\[--[^`]+)`", contract)
    assert len(shown) == 3
    group: Any = get_group(app)
    for words, options in shown:
        verb, name = words.split()
        context = group.make_context("ssmd", [verb])
        _, command, _ = group.resolve_command(context, [verb])
        known = {option for part in command.commands[name].params for option in part.opts}
        assert set(re.findall(r"\[(--[\w-]+)", options)) <= known, words


def parse(group: Any, words: list[str]) -> None:
    """Parse as click does before it runs anything; an unknown option raises."""
    context = group.make_context("ssmd", list(words))
    while hasattr(context.command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
