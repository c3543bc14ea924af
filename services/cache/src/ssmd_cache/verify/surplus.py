"""What Redis holds beyond what rows of PostgreSQL account for."""

from collections.abc import Container, Mapping

import redis.asyncio as aioredis

from ssmd_cache.verify.entries import VALUE, About, Entry, kind_of, row_of
from ssmd_cache.writer.names import glob, raw_of, text_of
from ssmd_common.keys import Keys, from_token


async def surplus(
    client: aioredis.Redis, keys: Keys, known: Mapping[str, Container[str]]
) -> dict[Entry, About | None]:
    """Entries of Redis beyond those that are `known`, by key, each with the row it was once of."""
    found: dict[Entry, About | None] = {}
    aside = {keys.position, keys.last_sync}
    async for raw in client.scan_iter(match=glob(keys.prefix) + "secmaster:*", count=1000):
        key = text_of(raw)
        if key in aside or key.startswith(keys.own("")):
            continue
        kind = kind_of(key, keys)
        if kind == "string":
            if key not in known and key.startswith((keys.series(""), keys.fee(""))):
                found[Entry(key, VALUE)] = await _whose(client, keys, key)
            continue
        for member in await _members(client, key, kind):
            if member not in known.get(key, ()):
                table = "events" if key == keys.events else "markets"
                found[Entry(key, member)] = About(table, member)
    return found


async def _members(client: aioredis.Redis, key: str, kind: str) -> list[str]:
    name = raw_of(key)
    match kind:
        case "hash":
            found = [m async for m, _ in client.hscan_iter(name, count=1000)]
        case "set":
            found = [m async for m in client.sscan_iter(name, count=1000)]
        case _:
            found = [m async for m, _ in client.zscan_iter(name, count=1000)]
    return [text_of(member) for member in found]


async def _whose(client: aioredis.Redis, keys: Keys, key: str) -> About | None:
    """The row that a surplus value was once written for."""
    if key.startswith(keys.fee("")):
        return About("series_fees", from_token(key.removeprefix(keys.fee(""))))
    if await client.type(raw_of(key)) != b"string":
        return None
    text = await client.get(raw_of(key))
    row = row_of(text) if isinstance(text, bytes) else None
    if not isinstance(row, dict):
        return None
    if "event_ticker" in row:
        if "ticker" in row:
            return About("markets", str(row["ticker"]))
        return About("events", str(row["event_ticker"]))
    return About("series", str(row["ticker"])) if "ticker" in row else None
