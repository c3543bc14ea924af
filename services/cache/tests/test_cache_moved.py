"""The address of Redis leads to another server, while the old one still answers."""

from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from pydantic import SecretStr

from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeyServer

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C')"
EVENT = "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S')"
MARKETS = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
    " SELECT 'M' || n, 'E', 'S', 'active' FROM generate_series(1, 20) n"
)


async def test_the_new_server_is_filled_and_followed(world: Any, tmp_path: Path) -> None:
    """As a name or a virtual address does after a failover: readers are there already."""
    await world.commit(SERIES, EVENT, MARKETS)
    old = world.valkey_server
    async with (
        ValkeyServer(tmp_path / "new") as new,
        TcpProxy(old.url) as address,
        world.cache(redis_url=SecretStr(address.url)) as cache,
    ):
        await cache.ready()
        await world.assert_right()
        address.lead_to(new.url)
        await world.redis.aclose()
        world.redis = aioredis.Redis.from_url(new.url)
        await world.assert_right(seconds=60)
        await world.commit("UPDATE markets SET yes_bid = 5")
        await world.assert_right()
        await world.redis.aclose()
