"""What services find at their servers, seen with their own settings and as their own users."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import cast

from ssmd_cli import checkup_nats, checkup_postgres, checkup_redis
from ssmd_cli.finding import Finding, Unreached
from ssmd_common.errors import ConfigurationError
from ssmd_common.manifests import settings_type
from ssmd_common.parts import SERVICES
from ssmd_common.rights import RIGHTS
from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings, load

Look = Callable[[], Awaitable[list[Finding]]]


def settings_of(service: str) -> PostgresSettings:
    """The service's settings from the environment.

    Raises:
        ConfigurationError: they have faults.
    """
    return load(settings_type(service))


async def examine(given: Mapping[str, PostgresSettings], *before: Look) -> list[Finding]:
    """Look at each server that the services use, at all three at once; `before` is what else is
    looked at in PostgreSQL. What several find alike is said once.
    """
    postgres, nats, redis = list(before), list[Look](), list[Look]()
    for service, settings in given.items():
        rights = RIGHTS[service]
        postgres.append(partial(checkup_postgres.examine, service, settings))
        if rights.nats is not None:
            of_nats = cast("NatsSettings", settings)
            nats.append(partial(checkup_nats.examine, service, of_nats, rights.nats))
        if rights.redis is not None:
            of_redis = cast("RedisSettings", settings)
            redis.append(partial(checkup_redis.examine, service, of_redis, rights.redis))
    found = await asyncio.gather(*(_in_turn(looks) for looks in (postgres, nats, redis)))
    return list(dict.fromkeys(finding for findings in found for finding in findings))


async def examine_all(*before: Look) -> list[Finding]:
    """All services with one environment."""
    given: dict[str, PostgresSettings] = {}
    faults: list[Finding] = []
    for service in SERVICES:
        try:
            given[service] = settings_of(service)
        except ConfigurationError as error:
            faults.append(Finding.failed(f"{service} settings", error))
    return faults + await examine(given, *before)


async def _in_turn(looks: Sequence[Look]) -> list[Finding]:
    """At one server, as one environment leads all services to the same: once it is not reached
    nobody waits for it again."""
    found: list[Finding] = []
    try:
        for look in looks:
            found += await look()
    except Unreached as error:
        found.append(error.finding)
    return found
