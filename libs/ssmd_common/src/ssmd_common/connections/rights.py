"""Statements that PostgreSQL refuses for what its operator can mend, told in one sentence."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
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

_MISSING: Final = """
SELECT name, needed FROM unnest(%s::text[], %s::text[]) AS wanted (name, needed)
WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name)::oid, needed)
ORDER BY name, needed
"""


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


async def require_rights(
    connection: psycopg.AsyncConnection[Any], rights: Mapping[str, Sequence[str]]
) -> None:
    """Look for rights on tables before a reader finds out; tables that are missing have none.

    Raises:
        ConfigurationError: names each GRANT that is missing.
    """
    wanted = [(table, right) for table, needed in rights.items() for right in needed]
    tables, needed = zip(*wanted, strict=True)
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    await cursor.execute(_MISSING, (list(tables), list(needed)))
    missing: dict[str, list[str]] = {}
    for table, right in await cursor.fetchall():
        missing.setdefault(table, []).append(right)
    if missing:
        role = _quoted(connection.info.user)
        grants = " ".join(
            f"GRANT {', '.join(found)} ON {table} TO {role};" for table, found in missing.items()
        )
        raise ConfigurationError(
            f"the role {role} in DATABASE_URL lacks rights on {', '.join(missing)}: {grants}"
        )


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
