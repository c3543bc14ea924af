"""Users of PostgreSQL, NATS and Redis with exactly the rights that are written down."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio as aioredis
from psycopg.conninfo import conninfo_to_dict
from topology import execute

from ssmd_common.granting import acl_rules, grants, nats_permissions
from ssmd_common.rights import RIGHTS
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer

PASSWORD = "secret"
OWNER = "owner"
"""The user at NATS who may do everything."""
SHARDS = 2
"""Of order books."""


def users(**changed: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a NATS server on which each service is a user; `changed` are permissions."""
    everyone: list[dict[str, Any]] = [{"user": OWNER, "password": PASSWORD}]
    for service, rights in RIGHTS.items():
        if rights.nats is not None:
            permissions = changed.get(service) or nats_permissions(rights.nats.with_shards(SHARDS))
            everyone.append({"user": service, "password": PASSWORD, "permissions": permissions})
    return {"authorization": {"users": everyone}}


def nats_url(server: NatsServer, user: str) -> str:
    return as_user(server.url, user)


def as_user(url: str, user: str) -> str:
    return url.replace("://", f"://{user}:{PASSWORD}@")


async def acl_users(redis_url: str, prefix: str = "") -> None:
    """Make each service a user of Redis."""
    async with aioredis.Redis.from_url(redis_url) as client:
        for service, rights in RIGHTS.items():
            if rights.redis is not None:
                await client.execute_command(
                    "ACL", "SETUSER", service, "on", f">{PASSWORD}",
                    *acl_rules(rights.redis, prefix),
                )  # fmt: skip


def redis_url(url: str, user: str) -> str:
    return as_user(url, user)


@dataclass(frozen=True)
class Roles:
    """One role for each service."""

    database: Database
    suffix: str

    def name(self, service: str) -> str:
        return f"{service}_{self.suffix}"

    def url(self, service: str) -> str:
        given = conninfo_to_dict(self.database.url)
        place = f"{given['host']}:{given['port']}/{self.database.name}"
        return f"postgresql://{self.name(service)}:{PASSWORD}@{place}"


@asynccontextmanager
async def roles(database: Database) -> AsyncIterator[Roles]:
    """Roles that may do what is written down, in a database where nobody may do anything else."""
    made = Roles(database, secrets.token_hex(4))
    admin = database.admin_url
    await execute(
        admin,
        f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    )
    for service, rights in RIGHTS.items():
        role = made.name(service)
        await execute(admin, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        await execute(admin, *grants(rights.postgres, role, database.name))
    try:
        yield made
    finally:
        for service in RIGHTS:
            role = made.name(service)
            await execute(admin, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def settings_of(service: str, nats: NatsServer, redis: str) -> dict[str, str]:
    """The environment by which a service is its own user; where it has no use for a server, one
    that is not let in."""
    rights = RIGHTS[service]
    return {
        "NATS_URL": nats_url(nats, service if rights.nats else "nobody"),
        "REDIS_URL": redis_url(redis, service if rights.redis else "nobody"),
    }
