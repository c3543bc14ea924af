"""What Redis holds of given entries, in a few commands of many arguments each."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import redis.asyncio as aioredis

from ssmd_cache.verify.entries import EXPIRES, VALUE, Entry, Found, kind_of, row_of
from ssmd_cache.writer.names import raw_of, text_of
from ssmd_common.keys import Keys


async def read(client: aioredis.Redis, keys: Keys, entries: Iterable[Entry]) -> Found:
    """What these entries hold; a key of another type holds the word "(wrong type)"."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    values: list[str] = []
    expires: list[str] = []
    for key, field in entries:
        kind = kind_of(key, keys)
        if kind != "string":
            groups[kind, key].append(field)
        else:
            (values if field == VALUE else expires).append(key)
    pipeline: Any = client.pipeline(transaction=False)
    asked: list[list[Entry]] = []

    def ask(fields: list[Entry]) -> None:
        asked.append(fields)

    if values:
        pipeline.mget([raw_of(key) for key in values])
        ask([Entry(key, VALUE) for key in values])
    for key in expires:
        pipeline.pexpiretime(raw_of(key))
        ask([Entry(key, EXPIRES)])
    for (kind, key), members in groups.items():
        name, raw = raw_of(key), [raw_of(member) for member in members]
        match kind:
            case "hash":
                pipeline.hmget(name, raw)
            case "set":
                pipeline.smismember(name, raw)
            case _:
                pipeline.zmscore(name, raw)
        ask([Entry(key, member) for member in members])
    found: Found = {}
    for fields, reply in zip(asked, await pipeline.execute(raise_on_error=False), strict=True):
        many = reply if isinstance(reply, list) else [reply] * len(fields)
        for entry, content in zip(fields, many, strict=True):
            found[entry] = _plain(entry, content, keys)
    return found


def _plain(entry: Entry, content: Any, keys: Keys) -> Any:
    if isinstance(content, Exception):
        if "WRONGTYPE" in str(content):
            return "(wrong type)"
        raise content
    match kind_of(entry.key, keys):
        case "hash":
            return None if content is None else text_of(content)
        case "set":
            return True if content else None
        case "zset":
            return None if content is None else float(content)
        case _ if entry.field == EXPIRES:
            return content if content >= 0 else None
        case _:
            return None if content is None else row_of(content)
