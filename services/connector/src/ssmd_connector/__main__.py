"""`ssmd-connector`: the exchange's trades and quotes to MARKET_DATA. Wiring only."""

import sys

from ssmd_common.connections import nats
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime, run
from ssmd_connector.service import Connector, turned_off, without_key
from ssmd_connector.settings import ConnectorSettings
from ssmd_kalshi.signing import load_signer


async def serve(runtime: Runtime, settings: ConnectorSettings) -> None:
    """Stand by, then lead, until the service stops."""
    if not settings.connector_enabled:
        await turned_off(runtime)
        return
    budget = settings.startup_budget_seconds
    key, path = settings.kalshi_api_key, settings.kalshi_private_key_path
    signer = load_signer(key.get_secret_value(), path) if key is not None and path else None
    async with lead(
        runtime, settings.database_url, "connector", budget_seconds=budget
    ) as leadership:
        if leadership is None:
            return
        client = await nats.connect(
            settings, "ssmd-connector", budget_seconds=budget, service="connector"
        )
        try:
            if signer is None:
                await without_key(runtime)
            else:
                await Connector(runtime, settings, client, signer).run()
        finally:
            await nats.close(client)


def main() -> None:
    """The service's entry point."""
    sys.exit(run("connector", ConnectorSettings, serve))


if __name__ == "__main__":
    main()
