"""What the command line says of an error: one sentence on stderr, and an exit code."""

import errno
import os
import sys
from typing import Any, Final

import typer

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Typer brings its own copy of click; older ones import it.
_errors: Final[Any] = sys.modules[typer.BadParameter.__module__]


def tell(error: Exception) -> int:
    """Say it; the exit code. An error that is not ours is raised again."""
    if isinstance(error, typer.Abort):
        typer.echo("stopped", err=True)
        return 1
    if isinstance(error, _errors.NoArgsIsHelpError):
        error.show()
        return int(error.exit_code)
    if isinstance(error, _errors.ClickException):
        typer.echo(f"ssmd: {_sentence(error)}{_where_to_look(error)}", err=True)
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno in _FULL:
        typer.echo(f"ssmd: {error.filename or 'the output'}: {error.strerror}", err=True)
        return 1
    explained = _explained(error)
    exit_code = getattr(explained, "exit_code", None)
    if exit_code is None:
        raise error
    from ssmd_cli.environment import advice

    typer.echo(f"ssmd: {explained}{advice(explained)}", err=True)
    return int(exit_code)


def _sentence(error: Any) -> str:
    """In our words: the name of the option or argument first."""
    name = _named(error)
    match error:
        case _errors.MissingParameter():
            return f"{name or 'an argument'}: is missing"
        case _errors.BadParameter():
            return f"{name}: {error.message}" if name else str(error.message)
        case _errors.NoSuchOption():
            near = ", ".join(error.possibilities or ())
            return f"there is no option {error.option_name}" + (
                f"; did you mean {near}?" if near else ""
            )
        case _:
            text = str(error.format_message()).rstrip(".")
            return text[:1].lower() + text[1:]


def _named(error: Any) -> str:
    hint = getattr(error, "param_hint", None)
    if isinstance(hint, str):
        return hint.strip("'")
    param = getattr(error, "param", None)
    if param is None:
        return " / ".join(hint) if hint else ""
    return str(max(param.opts, key=len)) if param.opts[0].startswith("-") else param.name.upper()


def _where_to_look(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"\n  See `{context.command_path} --help`." if context else ""


def _explained(error: Exception) -> Exception:
    """The error as one of ours, if the database refused what its operator can mend."""
    if "psycopg" not in sys.modules:
        return error
    from pydantic import SecretStr

    from ssmd_common.connections.rights import explained

    url = os.environ.get("DATABASE_URL")
    return explained(error, SecretStr(url) if url else None) or error
