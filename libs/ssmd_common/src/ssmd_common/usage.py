"""What a service says of itself when it is asked for help: what it does and what it reads."""

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from textwrap import fill
from typing import Final

from pydantic.fields import FieldInfo

from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import Settings, default_text, variables

_HELP: Final = ("-h", "--help")
_WIDTH: Final = 100
_INDENT: Final = " " * 6


def answer(
    service: str, settings_type: type[Settings], arguments: Sequence[str], verbs: str = ""
) -> int:
    """Print help if the arguments ask for it, else that they are wrong; the exit code.

    `verbs` are what may stand behind the command's name, for the line of usage.
    """
    usage = f"usage: ssmd-{service} [--help{verbs and f' | {verbs}'}]"
    if arguments[0] in _HELP:
        sys.stdout.write(f"{usage}\n\n{_described(service, settings_type)}")
        return ExitCode.OK
    sys.stderr.write(f"ssmd-{service} does not know {' '.join(arguments)!r}\n{usage}\n")
    return ExitCode.USAGE


def _described(service: str, settings_type: type[Settings]) -> str:
    purpose, *_ = (import_module(f"ssmd_{service}").__doc__ or "").splitlines()
    lines = [purpose, "", "It reads its settings from the environment:", ""]
    indented = partial(fill, width=_WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    for name, field in variables(settings_type).items():
        text = " ".join((field.description or "").split())
        lines += [f"  {name}{_default(field)}", indented(text)]
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    """What stands behind a variable's name: required, or what it is when it is not set."""
    if field.is_required():
        return " (required)"
    value = default_text(field)
    return value and f" (default: {value})"
