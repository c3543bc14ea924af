"""Statements that PostgreSQL refuses for what its operator can mend, told in one sentence."""

import re
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from pydantic import SecretStr

from ssmd_common.connections.retry import first_line, service_health
from ssmd_common.errors import ConfigurationError, SsmdError, UpstreamUnavailable
from ssmd_common.granting import grant, quoted
from ssmd_common.rights import PAGE, RIGHTS, PostgresRights

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
SELECT kind, name, needed
FROM unnest(%s::text[], %s::text[], %s::text[]) AS wanted (kind, name, needed)
CROSS JOIN LATERAL (
    SELECT CASE WHEN kind = 'FUNCTION' THEN (
        SELECT p.oid FROM pg_proc p
        WHERE p.proname = split_part(split_part(name, '(', 1), '.', 2)
            AND p.pronamespace = to_regnamespace(split_part(name, '.', 1)))
    WHEN kind IN ('SCHEMA', 'DATABASE') THEN NULL
    -- Of a schema that cannot be seen to_regclass is an error.
    WHEN name LIKE '%%.%%' THEN (
        SELECT c.oid FROM pg_class c WHERE c.relname = split_part(name, '.', 2)
            AND c.relnamespace = to_regnamespace(split_part(name, '.', 1)))
    ELSE to_regclass(name)::oid END AS found
) it
WHERE CASE kind
    WHEN 'TABLE' THEN NOT has_table_privilege(found, needed)
    WHEN 'SEQUENCE' THEN NOT has_sequence_privilege(found, needed)
    WHEN 'FUNCTION' THEN NOT has_function_privilege(found, needed)
    -- Without it none of the tables can be seen.
    WHEN 'SCHEMA' THEN NOT has_schema_privilege(to_regnamespace(name)::oid, needed)
    WHEN 'DATABASE' THEN NOT has_database_privilege(current_database(), needed)
END
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


async def missing_grants(
    connection: psycopg.AsyncConnection[Any], rights: PostgresRights
) -> list[str]:
    """Each GRANT that the connection's role lacks; of tables that are missing it lacks none."""
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    row = await (await cursor.execute("SELECT current_database()", prepare=False)).fetchone()
    assert row is not None
    wanted = [
        *(("TABLE", name, right) for name, needed in rights.tables.items() for right in needed),
        *(("SEQUENCE", name, r) for name, needed in rights.sequences.items() for r in needed),
        *(("FUNCTION", name, "EXECUTE") for name in rights.functions),
        *(("SCHEMA", name, "USAGE") for name in rights.schemas),
        *([("DATABASE", str(row[0]), "TEMPORARY")] if rights.temporary else []),
    ]
    await cursor.execute(_MISSING, tuple(map(list, zip(*wanted, strict=True))), prepare=False)
    missing = set(await cursor.fetchall())
    found: dict[tuple[str, str], list[str]] = {}
    for kind, name, right in wanted:
        if (kind, name, right) in missing:
            found.setdefault((kind, name), []).append(right)
    return [grant(*what, lacks, connection.info.user) for what, lacks in found.items()]


async def require_rights(connection: psycopg.AsyncConnection[Any], service: str) -> None:
    """Look for what the service needs before one of its statements finds out.

    Raises:
        ConfigurationError: names each GRANT that is missing.
    """
    rights = RIGHTS.get(service)
    if rights is None:
        return
    if grants := await missing_grants(connection, rights.postgres.required):
        role = quoted(connection.info.user)
        raise ConfigurationError(
            f"the role {role} in DATABASE_URL lacks rights that {service} needs ({PAGE} has them "
            f"all): {' '.join(grants)}"
        )


def lacking(
    error: psycopg.errors.InsufficientPrivilege, url: SecretStr | None
) -> ConfigurationError:
    """The sentence with the GRANT that helps; `url` tells the role."""
    text = first_line(error)
    role = _role(url)
    denied = _DENIED.search(text)
    temporary = _TEMPORARY.search(text)
    named, needed = _needed(denied[2]) if denied and denied[1] == "table" else ("", ())
    if needed:
        mend = grant("TABLE", named, needed, role)
    elif denied and denied[1] in _GRANTS:
        mend = f"GRANT {_GRANTS[denied[1]]} {quoted(denied[2])} TO {role};"
    elif temporary:
        mend = f"GRANT TEMPORARY ON DATABASE {quoted(temporary[1])} TO {role};"
    else:
        mend = f"a role that owns the database, in place of {role}"
    return ConfigurationError(f"the role {role} in DATABASE_URL lacks a right ({text}): {mend}")


def _needed(table: str) -> tuple[str, Sequence[str]]:
    """The table with its schema, and what the service that runs here needs of it."""
    health = service_health.get()
    rights = RIGHTS.get(health.service) if health is not None else None
    tables = rights.postgres.tables if rights is not None else {}
    found = (name for name in (table, f"history.{table}") if name in tables)
    name = next(found, table)
    return name, tables.get(name, ())


def _role(url: SecretStr | None) -> str:
    given = conninfo_to_dict(url.get_secret_value()) if url is not None else {}
    return quoted(str(given.get("user") or "CURRENT_USER"))
