"""Redis as the cache writes it: every change one atomic step, under the leader's fencing token."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import redis.asyncio as aioredis

from ssmd_cache.errors import ContentsLost
from ssmd_cache.projection.commands import Command, Words
from ssmd_cache.projection.records import KINDS
from ssmd_cache.writer.census import Census
from ssmd_cache.writer.names import glob, text_of
from ssmd_cache.writer.position import CachePosition, decode, encode
from ssmd_cache.writer.script import Argument, Script, fenced, packed
from ssmd_common.keys import Keys

_PAGE: Final = "500"


class Written(NamedTuple):
    """`missing` are events whose category a market needs and nobody told yet.

    `foreign` are keys of ours that hold someone else's type: what they would hold was not written.
    """

    changed: int
    missing: frozenset[str]
    foreign: frozenset[str]


class Seen(NamedTuple):
    """A page of a patrol: `mended` index entries were missing, and are back.

    `valueless` are the rows whose values are missing, each with the position of its record.
    """

    cursor: bytes
    rows: int
    mended: int
    valueless: list[tuple[str, str]]


class Pruned(NamedTuple):
    """How many rows were removed, and what the others account for."""

    dropped: int
    kept: Census


class RedisWriter:
    """The only writer of the cache's keys.

    Every method may raise:
        Fenced: a later leader has been here.
        ContentsLost: Redis no longer holds what was written.
        KeyTypeConflict: keys that nothing can be done without hold someone else's type.
        redis.exceptions.RedisError: the server does not answer, or refuses (out of memory).
    """

    def __init__(self, client: aioredis.Redis, keys: Keys, token: int) -> None:
        self.client = client
        self.keys = keys
        self.token = token
        self._script = Script(client, keys, token)

    async def claim(self) -> CachePosition | None:
        """Put this leader's token in place; what the last one left, or None for nothing usable."""
        reply = await self._script.call("claim")
        return decode(reply[1])

    async def position(self) -> CachePosition | None:
        """What Redis says it reflects."""
        reply = await self._script.call("position")
        return decode(reply[1])

    async def look(self) -> tuple[bool, frozenset[str]]:
        """Whether there is nothing of ours but a position, and keys of someone else's type."""
        is_empty, foreign = True, set[str]()
        async for found in self._scan():
            is_empty = is_empty and set(found) <= {self.keys.position.encode()}
            reply = await self._script.call("foreign", *found)
            foreign.update(text_of(key) for key in reply[1])
        return is_empty, frozenset(foreign)

    async def set_position(self, position: CachePosition) -> None:
        await self.set(self.keys.position, encode(position))

    async def complete(self, position: CachePosition, written: Mapping[str, int]) -> None:
        """A warm-up is done; `written` rows by table.

        Raises:
            ContentsLost: Redis was restarted meanwhile, and has not kept all of them.
        """
        counts = (str(written[table]) for table in ("markets", "events", "series", "series_fees"))
        await self._script.call("warm", encode(position), *counts)

    async def set(self, key: str, text: bytes) -> None:
        """Set one of the cache's own strings; empty text deletes it."""
        await self._script.call("set", key, text)

    async def fill(self, commands: Sequence[Words]) -> None:
        """Write rows of a snapshot over whatever is there, in one atomic step.

        The position is watched from before the token is read in it: should another leader write
        its own there in between, or Redis be emptied, nothing of the step happens.
        """
        look = packed([["WATCH", self.keys.position], ["GET", self.keys.position]])
        write = packed([["MULTI"], *commands, ["EXEC"]])
        written = None
        async with self._script.connection() as exchange:
            while written is None:
                _, text = await exchange(look, 2)
                position = decode(text) if text is not None else None
                if position is None or position.token < self.token:
                    raise ContentsLost("Redis does not hold the cache's contents any more")
                if position.token > self.token:
                    raise fenced(position.token)
                # None: the position was written. By whom, the next look at it says.
                written = (await exchange(write, len(commands) + 2))[-1]
        for reply in written:
            if isinstance(reply, Exception):
                raise reply

    async def apply(
        self,
        first: int,
        position: CachePosition,
        commands: Sequence[Command],
        sent: asyncio.Event | None = None,
    ) -> Written:
        """Write what the stream's messages `first` to `position.sequence` do, and the position.

        `sent` is set once Redis has it to work on.

        Rows that Redis holds in this or a later state stay. A batch that was applied already
        changes nothing.

        Raises:
            SequenceGap: Redis is further back than `first`.
        """
        reply = await self._script.call(
            "apply",
            str(first),
            str(position.sequence),
            position.generation,
            encode(position),
            msgspec.msgpack.encode(commands),
            sent=sent,
        )
        return _written(reply)

    async def repair(self, generation: str, commands: Sequence[Command]) -> Written:
        """Write rows that were read from PostgreSQL between messages; the position stays."""
        rows = msgspec.msgpack.encode(commands)
        return _written(await self._script.call("apply", "0", "0", generation, b"", rows))

    async def restore(self, generation: str, commands: Sequence[Command]) -> Written:
        """Write rows whose values are missing, as `repair` does, over what is as old."""
        rows = msgspec.msgpack.encode(commands)
        return _written(await self._script.call("apply", "0", "0", generation, b"", rows, "again"))

    async def sweep(self, most: int = 500) -> tuple[int, int]:
        """Take expired keys out of the indexes; how many were due, up to `most`, and are out."""
        reply = await self._script.call("sweep", str(most))
        return int(reply[1]), int(reply[2])

    async def prune(self, by: str, bound: str) -> Pruned:
        """Remove rows of another generation, or of an epoch before `bound`; count the others."""
        dropped = categorised = expiring = 0
        live = dict.fromkeys(KINDS.values(), 0)
        for kind in live:
            async for page in self._pages("prune", kind, _PAGE, by, bound):
                dropped += int(page[0])
                live[kind] += int(page[1])
                categorised += int(page[2])
                expiring += int(page[3])
        kept = Census(
            values=live["m"] + live["e"] + live["s"],
            fees=live["f"],
            markets=live["m"],
            events=live["e"],
            members=live["m"],
            categorised=categorised,
            expiring=expiring,
        )
        return Pruned(dropped, kept)

    async def patrol(self, kind: str, cursor: bytes, count: int) -> Seen:
        """See that some rows of a kind are in the indexes where they belong, and have values."""
        reply = await self._script.call("patrol", kind, cursor, str(count))
        words = iter(text_of(word) for word in reply[4])
        return Seen(reply[1], int(reply[2]), int(reply[3]), list(zip(words, words, strict=True)))

    async def scrub(self) -> int:
        """Remove keys and index entries of ours that no row accounts for; how many."""
        dropped = 0
        async for found in self._scan():
            reply = await self._script.call("scrub", *found)
            dropped += int(reply[1])
            for key in reply[2]:
                async for page in self._pages("scrub_index", key):
                    dropped += int(page[0])
        return dropped

    async def _pages(
        self, action: str, of: Argument, *arguments: Argument
    ) -> AsyncIterator[list[Any]]:
        """What an action replies, page by page, to its end."""
        cursor = b"0"
        while True:
            _, cursor, *page = await self._script.call(action, of, cursor, *arguments)
            yield page
            if cursor == b"0":
                return

    async def _scan(self) -> AsyncIterator[list[Argument]]:
        """All keys of ours, page by page; some may come twice."""
        cursor, pattern = 0, glob(self.keys.prefix) + "secmaster:*"
        while True:
            cursor, found = await self.client.scan(cursor, match=pattern, count=1000)
            if found:
                yield found
            if cursor == 0:
                return


def _written(reply: list[Any]) -> Written:
    missing, foreign = (frozenset(text_of(name) for name in part) for part in reply[2:4])
    return Written(int(reply[1]), missing, foreign)
