"""Statements that PostgreSQL refuses for what its operator can mend, told in one sentence."""

import re
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from ssmd_common.connections.retry import first_line
from ssmd_common.errors import ConfigurationError, SsmdError, UpstreamUnavailable

_GRANTS: Final = {
    "table": "SELECT, INSERT, UPDATE, DELETE ON",
    "view": "SELECT ON",
    "sequence": "USAGE ON SEQUENCE",
    "schema": "USAGE ON SCHEMA",
    "function": "EXECUTE ON FUNCTION",
    "database": "TEMPORARY ON DATABASE",
}

# The server has no field for what was denied: only its text tells.
_DENIED: Final = re.compile(r"permission denied for (\w+) (\S+)")
_TEMPORARY: Final = re.compile(r"permission denied to create temporary tables in database (\S+)")


def explained(error: BaseException, url: SecretStr | None) -> SsmdError | None:
    """The sentence that a process may end with; None for any other error."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return lacking(error, url)
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return UpstreamUnavailable(
            f"PostgreSQL is read-only ({first_line(error)}): DATABASE_URL has to lead to a server "
            "that takes writes"
        )
    return None


def lacking(
    error: psycopg.errors.InsufficientPrivilege, url: SecretStr | None
) -> ConfigurationError:
    """The sentence with the GRANT that helps; `url` tells the role."""
    text = first_line(error)
    role = _role(url)
    denied = _DENIED.search(text)
    temporary = _TEMPORARY.search(text)
    if denied and denied[1] in _GRANTS:
        mend = f"GRANT {_GRANTS[denied[1]]} {_quoted(denied[2])} TO {role};"
    elif temporary:
        mend = f"GRANT TEMPORARY ON DATABASE {_quoted(temporary[1])} TO {role};"
    else:
        mend = f"a role that owns the database, in place of {role}"
    return ConfigurationError(f"the role {role} in DATABASE_URL lacks a right ({text}): {mend}")


def _role(url: SecretStr | None) -> str:
    given = conninfo_to_dict(url.get_secret_value()) if url is not None else {}
    return _quoted(str(given.get("user") or "CURRENT_USER"))


def _quoted(name: str) -> str:
    name = name.strip('"')
    return (
        name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))
    )
