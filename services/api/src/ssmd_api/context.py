"""What every handler works with."""

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from ssmd_api.auth import Authenticator
from ssmd_api.cached import Cached
from ssmd_api.counts import Counts
from ssmd_api.crossorigin import Origins
from ssmd_api.database import Database
from ssmd_api.deprecation import Marked
from ssmd_api.feed import ChangeFeed
from ssmd_api.freshness import Freshness
from ssmd_api.keystore import KeyStore
from ssmd_api.keywatch import KeyWatch
from ssmd_api.marketdata import MarketData
from ssmd_api.places import Places
from ssmd_api.ratelimit import RateLimiter
from ssmd_api.recent import Recent
from ssmd_api.requeststore import RequestStore
from ssmd_api.settings import ApiSettings
from ssmd_api.store import Store
from ssmd_api.tiers import Tiers
from ssmd_api.unreadable import Unreadable


@dataclass(frozen=True, slots=True)
class Context:
    settings: ApiSettings
    store: Store
    cached: Cached
    tiers: Tiers
    freshness: Freshness
    counts: Counts
    recent: Recent
    """Pages of lists and single markets, by their requests' path and parameters."""
    keys: KeyStore
    requests: RequestStore
    authenticator: Authenticator
    keywatch: KeyWatch
    limiter: RateLimiter
    database: Database
    feed: ChangeFeed
    market_data: MarketData
    unreadable: Unreadable
    exports: Places
    """As many exports and snapshots as may run at once."""
    streams: Places
    """As many readers of /v1/changes as there may be at once."""
    origins: Origins
    deprecated: Marked
    """Routes that will go."""
    stopping: asyncio.Event
    """Set when the service is asked to stop: what would last for ever ends."""


CONTEXT: Final = web.AppKey("context", Context)


def of(request: web.Request) -> Context:
    return request.app[CONTEXT]
