"""The rights of `ssmd_common.rights` as statements and settings of the servers. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ssmd_common.rights import NatsRights, PostgresRights, RedisRights


def quoted(name: str) -> str:
    """A name as SQL takes it, in quotes only where it needs them."""
    name = name.strip('"')
    return (
        name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))
    )


def grant(kind: str, name: str, rights: Sequence[str], role: str) -> str:
    """One GRANT; `kind` is TABLE, SEQUENCE, FUNCTION (with its arguments), SCHEMA or DATABASE."""
    if kind in ("SCHEMA", "DATABASE"):
        place = quoted(name)
    else:
        path, bracket, arguments = name.partition("(")
        place = ".".join(map(quoted, path.split("."))) + bracket + arguments
    place = place if kind == "TABLE" else f"{kind} {place}"
    return f"GRANT {', '.join(rights)} ON {place} TO {quoted(role)};"


def grants(rights: PostgresRights, role: str, database: str) -> list[str]:
    """All that a role needs; the first makes it a walsender's, where it has to be one."""
    attribute = [f"ALTER ROLE {quoted(role)} REPLICATION;"] if rights.replication else []
    of_database = ("CONNECT", "TEMPORARY") if rights.temporary else ("CONNECT",)
    return [
        *attribute,
        grant("DATABASE", database, of_database, role),
        *(grant("SCHEMA", name, ("USAGE",), role) for name in rights.schemas),
        *(grant("TABLE", name, needed, role) for name, needed in rights.tables.items()),
        *(grant("SEQUENCE", name, needed, role) for name, needed in rights.sequences.items()),
        *(grant("FUNCTION", name, ("EXECUTE",), role) for name in rights.functions),
    ]


def nats_permissions(rights: NatsRights, inbox_prefix: str = "_INBOX") -> Mapping[str, Any]:
    """The `permissions` of a user in nats-server's configuration."""
    return {
        "publish": {"allow": [each.pattern for each in rights.publish]},
        "subscribe": {"allow": [f"{inbox_prefix}.>"]},
    }


def acl_rules(rights: RedisRights, prefix: str = "") -> list[str]:
    """What follows the user, `on` and the password in ACL SETUSER."""
    commands = [f"+{command}" for command in rights.commands]
    return ["resetkeys", "resetchannels", "-@all", rights.keys(prefix), *commands]
