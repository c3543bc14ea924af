"""A call of the script in `lua/`: one atomic step, under the leader's fencing token."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final, Protocol

import hiredis
import redis.asyncio as aioredis
import redis.exceptions

from ssmd_cache.errors import ContentsLost, Fenced, KeyTypeConflict, SequenceGap
from ssmd_cache.projection.records import lua_constants
from ssmd_cache.writer.names import text_of
from ssmd_common.keys import Keys

_PARTS: Final = (
    *("records", "entries", "put", "fees", "rows"),
    *("gate", "actions", "patrol", "scrub"),
)
"""In the order in which a call goes through them; `lua/records.lua` begins with what each is."""
_SCRIPT: Final = "\n".join(
    [lua_constants()]
    + [files("ssmd_cache").joinpath("lua", f"{part}.lua").read_text("utf-8") for part in _PARTS]
)

Argument = str | bytes


class Exchange(Protocol):
    """Send commands that are packed already, get so many replies; `sent` is set in between."""

    def __call__(
        self, packed: list[bytes], replies: int, sent: asyncio.Event | None = None
    ) -> Awaitable[list[Any]]: ...


class Script:
    """Its calls raise what RedisWriter names."""

    def __init__(self, client: aioredis.Redis, keys: Keys, token: int) -> None:
        self._client = client
        self._keys = keys
        self._token = token
        self._sha: str | None = None

    async def call(
        self, action: str, *arguments: Argument, sent: asyncio.Event | None = None
    ) -> list[Any]:
        """What the action replied; `lua/actions.lua` says what it takes."""
        own = (self._keys.position, action, self._keys.prefix, str(self._token))
        if self._sha is None:
            self._sha = str(await self._client.script_load(_SCRIPT))
        try:
            reply = await self._execute("EVALSHA", self._sha, "1", *own, *arguments, sent=sent)
        except redis.exceptions.NoScriptError:
            # A restarted server has forgotten it.
            reply = await self._execute("EVAL", _SCRIPT, "1", *own, *arguments, sent=sent)
        match reply[0]:
            case b"OK":
                return reply
            case b"FENCED":
                raise fenced(int(reply[1]))
            case b"LOST":
                raise ContentsLost("Redis does not hold the cache's contents any more")
            case b"GAP":
                raise SequenceGap(int(float(reply[1])))
            case b"BLOCKED":
                raise KeyTypeConflict([text_of(name) for name in reply[1]])
            case word:
                raise AssertionError(f"the script answered {word!r}")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Exchange]:
        """A connection of one's own.

        redis-py packs commands in Python, word by word, which takes longer than all else.
        """
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]

        async def exchange(
            packed: list[bytes], replies: int, sent: asyncio.Event | None = None
        ) -> list[Any]:
            if not connection.is_connected:
                # Left to itself it would connect anew, and what was watched would not be any more.
                raise redis.exceptions.ConnectionError("the connection to Redis was lost")
            await connection.send_packed_command(packed, check_health=False)
            if sent is not None:
                sent.set()
            return [await connection.read_response() for _ in range(replies)]

        try:
            yield exchange
        except BaseException:
            # Replies may be under way that nobody waits for any more.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def _execute(self, *command: Argument, sent: asyncio.Event | None) -> list[Any]:
        async with self.connection() as exchange:
            [reply] = await exchange(packed([command]), 1, sent)
        return list(reply)


def fenced(token: int) -> Fenced:
    return Fenced(
        f"a later leader (fencing token {token}) writes to Redis: this one ends and is to be "
        "restarted. If there is no other, the database was restored or made anew: "
        "delete the key secmaster:position from Redis"
    )


def packed(commands: Iterable[Sequence[Argument]]) -> list[bytes]:
    """Commands as they go over the wire."""
    return [hiredis.pack_command(tuple(words)) for words in commands]  # type: ignore[arg-type]
