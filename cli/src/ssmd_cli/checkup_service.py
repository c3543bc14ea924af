"""What one service finds at its servers, seen with its own settings and as its own users."""

from ssmd_cli import checkup_nats, checkup_postgres, checkup_redis
from ssmd_cli.finding import Finding
from ssmd_common.errors import ConfigurationError
from ssmd_common.manifests import settings_type
from ssmd_common.parts import SERVICES
from ssmd_common.rights import RIGHTS
from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings, load


def settings_of(service: str) -> PostgresSettings:
    """The service's settings from the environment.

    Raises:
        ConfigurationError: they have faults.
    """
    return load(settings_type(service))


async def examine(service: str, settings: PostgresSettings) -> list[Finding]:
    """Look at each server that the service uses."""
    rights = RIGHTS[service]
    found = await checkup_postgres.examine(service, settings)
    if rights.nats is not None:
        assert isinstance(settings, NatsSettings)
        found += await checkup_nats.examine(service, settings, rights.nats)
    if rights.redis is not None:
        assert isinstance(settings, RedisSettings)
        found += await checkup_redis.examine(service, settings, rights.redis)
    return found


async def examine_all() -> list[Finding]:
    """All services with one environment; what they find alike is said once."""
    found: list[Finding] = []
    for service in SERVICES:
        try:
            found += await examine(service, settings_of(service))
        except ConfigurationError as error:
            found.append(Finding.failed(f"{service} settings", error))
    return list(dict.fromkeys(found))
