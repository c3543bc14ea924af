"""`ssmd-cdc`: PostgreSQL's WAL to SECMASTER_CDC."""

import gc
import sys
from typing import Final

from ssmd_cdc.control import Control
from ssmd_cdc.settings import CdcSettings
from ssmd_cdc.supervisor import Supervisor
from ssmd_common.connections import nats, postgres
from ssmd_common.connections.rights import require_rights
from ssmd_common.runtime import Runtime, run

_GARBAGE: Final = 50_000
"""Objects that gather before Python looks for cycles among them."""


async def serve(runtime: Runtime, settings: CdcSettings) -> None:
    """Publish until the service stops."""
    budget = settings.startup_budget_seconds
    # Both servers get their time to start; from then on sessions have a budget of their own.
    first = await postgres.connect(settings.database_url, "ssmd-cdc", budget_seconds=budget)
    async with first:
        await require_rights(first, "cdc")
    client = await nats.connect(settings, "ssmd-cdc", budget_seconds=budget, service="cdc")
    control = Control(settings)
    # What is loaded by now stays, and rows bring many objects and no cycles: looking for some would
    # be a fifteenth of the work.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    try:
        await Supervisor(runtime, settings, client, control).run()
    finally:
        await control.close()
        await nats.close(client)


def main() -> None:
    sys.exit(run("cdc", CdcSettings, serve))


if __name__ == "__main__":
    main()
