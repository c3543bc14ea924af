"""How much of everything Redis holds: where the counts agree, nothing needs to be looked for."""

from typing import Any, NamedTuple, cast

import redis.asyncio as aioredis
import redis.exceptions

from ssmd_cache.writer.names import glob
from ssmd_common.keys import Keys


class Census(NamedTuple):
    """Keys of series, events and markets; fee schedules; entries of each index."""

    values: int = 0
    fees: int = 0
    markets: int = 0
    events: int = 0
    members: int = 0
    categorised: int = 0
    expiring: int = 0


async def count(client: aioredis.Redis, keys: Keys) -> Census | None:
    """What Redis holds; None where a key of ours has another type.

    Counted while readers read and keys expire, so a difference is no proof, and equality is one
    only right after every row was written.
    """
    prefixes = [
        (prefix.encode(), name)
        for prefix, name in (
            (keys.series(""), "values"),
            (keys.fee(""), "fees"),
            (keys.event_markets(""), "members"),
            (keys.markets_by_category(""), "categorised"),
        )
    ]
    found = {"values": 0, "fees": 0, "members": 0, "categorised": 0}
    cursor = 0
    try:
        while True:
            reply = await client.scan(cursor, match=glob(keys.prefix) + "secmaster:*", count=1000)
            cursor, page = cast(tuple[int, list[bytes]], reply)
            pipeline: Any = client.pipeline(transaction=False)
            asked: list[str] = []
            for key in page:
                name = next((name for prefix, name in prefixes if key.startswith(prefix)), None)
                if name in ("members", "categorised"):
                    pipeline.scard(key)
                    asked.append(name)
                elif name is not None:
                    found[name] += 1
            for name, size in zip(asked, await pipeline.execute(), strict=True):
                found[name] += size
            if cursor == 0:
                break
        pipeline = client.pipeline(transaction=False)
        pipeline.hlen(keys.markets).hlen(keys.events).zcard(keys.expiring)
        markets, events, expiring = await pipeline.execute()
    except redis.exceptions.ResponseError as error:
        if "WRONGTYPE" in str(error):
            return None
        raise
    return Census(**found, markets=markets, events=events, expiring=expiring)
