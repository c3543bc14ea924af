"""`ssmd-cdc`: PostgreSQL's WAL to SECMASTER_CDC."""

import sys

from ssmd_cdc.control import Control
from ssmd_cdc.publisher import Publisher
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections import nats, postgres
from ssmd_common.runtime import Runtime, run


async def serve(runtime: Runtime, settings: CdcSettings) -> None:
    """Publish until the service stops."""
    budget = settings.startup_budget_seconds
    # Both servers get their time to start; from then on sessions have a budget of their own.
    first = await postgres.connect(settings.database_url, "ssmd-cdc", budget_seconds=budget)
    await first.close()
    client = await nats.connect(settings.nats_url, "ssmd-cdc", budget_seconds=budget)
    control = Control(settings)
    try:
        await Publisher(runtime, settings, client, control).run()
    finally:
        await control.close()
        await nats.close(client)


def main() -> None:
    sys.exit(run("cdc", CdcSettings, serve))


if __name__ == "__main__":
    main()
