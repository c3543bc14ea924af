"""Who asks: API keys, their scopes, and a limit on wrong ones."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog
from aiohttp import hdrs
from multidict import istr

from ssmd_api.keystore import KeyStore, StoredKey
from ssmd_api.metrics import REFUSED
from ssmd_api.problems import Problem, forbidden, too_many, unauthorized
from ssmd_api.ratelimit import RateLimiter
from ssmd_api.turns import caller
from ssmd_common import apikeys, tasks
from ssmd_common.apikeys import ParsedKey

log = structlog.get_logger(__name__)

_HEADER: Final = istr("X-API-Key")

_REMEMBERED: Final = 10_000
_PAUSE_SECONDS: Final = 2.0
"""How long a database that did not answer is not asked again about a key that was good."""
_OUTAGE_SECONDS: Final = 300.0
"""How long keys found good before are trusted while PostgreSQL is away: reads from Redis go on."""


@dataclass(frozen=True, slots=True)
class _Memory:
    stored: StoredKey
    checked_at: float


class Authenticator:
    """Finds the key of a request. A good key is remembered for a few seconds by its hash."""

    def __init__(self, store: KeyStore, memory_seconds: float, failures_per_minute: int) -> None:
        self._store = store
        self._memory_seconds = memory_seconds
        self._failures_per_minute = failures_per_minute
        self._failures = RateLimiter()
        self._good: OrderedDict[bytes, _Memory] = OrderedDict()
        self._looking_up: dict[bytes, asyncio.Task[_Memory | None]] = {}
        self._revocations = 0
        self._used: dict[int, datetime] = {}
        self._away_until = 0.0

    async def close(self) -> None:
        await tasks.end(*self._looking_up.values())

    async def authenticate(
        self, text: str | None, address: Callable[[], str], scope: str
    ) -> StoredKey:
        """The key whose text a request carries, good for `scope`. `address` says who asks.

        Raises:
            Problem: 401 without a good key, 403 without the scope, 429 after too many wrong keys
                from one address.
        """
        key = apikeys.parse(text) if text else None
        stored = await self._good_key(key, address, self._memory_seconds) if key else None
        if stored is None:
            raise self._refusal(text, address())
        if scope not in stored.scopes:
            REFUSED.labels("scope").inc()
            raise forbidden(scope)
        self._used[stored.id] = datetime.now(UTC)
        return stored

    async def still_good(self, key: ParsedKey, memory_seconds: float) -> bool:
        """Whether a key that was good when a stream began is so, as of so many seconds ago.

        Raises:
            psycopg.OperationalError: PostgreSQL has not answered for longer than keys are trusted.
        """
        return await self._good_key(key, str, memory_seconds) is not None

    def forget(self, key_id: int) -> None:
        """Check a key at its next use, whatever is remembered of it: it was revoked.

        That it was good is still known: to its address it is no key that somebody tries.
        """
        self._revocations += 1
        for hashed, memory in list(self._good.items()):
            if memory.stored.id == key_id:
                self._good[hashed] = replace(memory, checked_at=float("-inf"))

    async def write_uses(self) -> None:
        """Store when keys were last used, since the last call."""
        used, self._used = self._used, {}
        try:
            if used:
                await self._store.note_use(used)
        except BaseException:
            self._used = used | self._used
            raise

    async def _good_key(
        self, key: ParsedKey, address: Callable[[], str], memory_seconds: float
    ) -> StoredKey | None:
        now = time.monotonic()
        memory = self._good.get(key.hash)
        away = memory is not None and now < self._away_until
        if memory is None or (now - memory.checked_at > memory_seconds and not away):
            if memory is None and not self._may_try(address()):
                return None
            try:
                memory = await self._looked_up(key, str(memory.stored.id) if memory else address())
            except psycopg.OperationalError:
                if memory is None or now - memory.checked_at > _OUTAGE_SECONDS:
                    raise
                self._away_until = time.monotonic() + _PAUSE_SECONDS
        if memory is None or not _in_force(memory.stored):
            self._good.pop(key.hash, None)
            return None
        return memory.stored

    async def _looked_up(self, key: ParsedKey, name: str) -> _Memory | None:
        """A look-up of the key, the one that runs if there is one; in turn with those of others."""
        task = self._looking_up.get(key.hash)
        if task is None:
            before = caller.set(name)
            task = asyncio.create_task(self._look_up(key), name="look-up of a key")
            caller.reset(before)
            self._looking_up[key.hash] = task

            def done(task: asyncio.Task[_Memory | None]) -> None:
                del self._looking_up[key.hash]
                if not task.cancelled():
                    task.exception()  # Whoever asked may be gone.

            task.add_done_callback(done)
        # Others wait for it, too: whoever gives up does not end it.
        return await asyncio.shield(task)

    async def _look_up(self, key: ParsedKey) -> _Memory | None:
        now, revocations = time.monotonic(), self._revocations
        stored = await self._store.by_prefix(key.prefix)
        # Compared even when there is no such prefix, so that both refusals take the same time.
        expected = stored.hash if stored else bytes(len(key.hash))
        if not apikeys.matches(key, expected) or stored is None:
            return None
        # What was read while one was revoked may have been read before.
        memory = _Memory(stored, now if revocations == self._revocations else float("-inf"))
        self._good[key.hash] = memory
        self._good.move_to_end(key.hash)
        while len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return memory

    def _may_try(self, address: str) -> bool:
        limit, now = self._failures_per_minute, time.monotonic_ns()
        return self._failures.peek(address, limit, now).allowed

    def _refusal(self, text: str | None, address: str) -> Problem:
        if text is None:
            REFUSED.labels("no_key").inc()
            return unauthorized("send the key as X-API-Key or as Authorization: Bearer")
        verdict = self._failures.take(address, self._failures_per_minute, time.monotonic_ns())
        if not verdict.allowed:
            REFUSED.labels("too_many_failures").inc()
            return too_many(
                "Too many wrong API keys",
                "this address sent too many keys that are wrong, expired or revoked",
                verdict.retry_after_seconds,
            )
        REFUSED.labels("wrong_key").inc()
        log.info("api key refused", address=address)
        return unauthorized("the key is wrong, expired or revoked")


def presented(headers: Mapping[str, str]) -> str | None:
    """The key's text as a request carries it, or None."""
    if key := headers.get(_HEADER, "").strip():
        return key
    scheme, _, value = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def _in_force(key: StoredKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > datetime.now(UTC))
