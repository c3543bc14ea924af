"""Writing sessions to borrow: each keeps its temporary tables from one use to the next."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections.session import look
from ssmd_store.pages import Store


class Sessions:
    """At most `size` stores at once, made when first needed; a broken one is not lent again."""

    def __init__(self, url: SecretStr, service: str, *, size: int, budget_seconds: float) -> None:
        self._url = url
        self._service = service
        self._budget_seconds = budget_seconds
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[Store] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Store]:
        """A store of one's own for a while.

        Raises:
            UpstreamUnavailable: none can be made.
            ConfigurationError: a pooler shares its sessions, or the role lacks a right.
        """
        async with self._free:
            store = self._idle.pop() if self._idle else await self._open()
            try:
                await look(store.connection)
                yield store
            except BaseException:
                # Whatever state it is in, its locks and transaction end with it.
                await store.connection.close()
                raise
            if store.connection.broken or store.connection.closed:
                return
            self._idle.append(store)

    async def all_returned(self) -> None:
        """Wait until nothing is lent, and lend nothing any more."""
        for _ in range(self._size):
            await self._free.acquire()

    async def _open(self) -> Store:
        connection = await postgres.connect(
            self._url, f"ssmd-{self._service}", budget_seconds=self._budget_seconds
        )
        self._stack.push_async_callback(connection.close)
        return await Store.on(connection, self._service)
