"""The exchange, as one run sees it: a client of its own on the budget that all runs share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ssmd_common.errors import ConfigurationError
from ssmd_kalshi import errors
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.signing import Signer, load_signer
from ssmd_sync.meter import Meter
from ssmd_sync.settings import SyncSettings


class Exchange:
    """How to reach it: made once for a process."""

    def __init__(
        self,
        settings: SyncSettings,
        stop: asyncio.Event | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        """`stop` ends what waits for the exchange. ConfigurationError where the settings cannot
        work."""
        self._url = settings.kalshi_base_url.get_secret_value()
        self.stop = stop
        self.drift = Drift()
        """What was new or unreadable in all that was read since the start."""
        self.deletable_share = settings.sync_deletable_share
        """Of a table's rows, those that may have vanished from it between two scans."""
        self._policy = policy
        try:
            self.budget = Budget(settings.kalshi_read_budget)
            self._signer = _signer(settings)
        except errors.ConfigurationError as error:
            raise ConfigurationError(str(error)) from error

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[KalshiRest, Meter]]:
        """A client, and what it spends."""
        meter = Meter(self.budget)
        async with KalshiRest(
            self._url,
            budget=meter,
            signer=self._signer,
            stop=self.stop,
            policy=self._policy,
            drift=self.drift,
        ) as rest:
            yield rest, meter


def _signer(settings: SyncSettings) -> Signer | None:
    """Market data needs no credentials; with them the budget is the key's own."""
    key, path = settings.kalshi_api_key, settings.kalshi_private_key_path
    if key is None and path is None:
        return None
    if key is None or path is None:
        missing = "KALSHI_API_KEY" if key is None else "KALSHI_PRIVATE_KEY_PATH"
        raise ConfigurationError(f"{missing}: is missing, though the other half of the key is set")
    return load_signer(key.get_secret_value(), path)
