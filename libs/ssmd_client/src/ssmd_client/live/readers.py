"""Who is told of changes: iterators with bounded queues, and callbacks."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Self

from ssmd_client.errors import Closed
from ssmd_client.live.messages import Change, Item, Missed, Renewed

log: Final = logging.getLogger("ssmd_client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which changes a reader wants; an empty part wants all."""

    series: frozenset[str] = frozenset()
    event: str | None = None
    market: str | None = None
    tables: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def fits(self, change: Change) -> bool:
        """Of a change of a whole table only `tables` and `types` count."""
        if self.tables and change.table not in self.tables:
            return False
        if self.types and change.type not in self.types:
            return False
        row = change.row if change.row is not None else change.before
        if row is None:
            return True
        if self.series and _series_of(change.table, row) not in self.series:
            return False
        if self.event is not None and getattr(row, "event_ticker", None) != self.event:
            return False
        return self.market is None or self.market == _market_of(change.table, row)


class Changes:
    """An async iterator of changes, from the moment of its making on. Ends with the live view.

    At most `queue` changes wait. Where a reader is slower than they come, what waits is thrown away
    and told as one `Missed`. Who is given that, or `Renewed`, looks at the picture before it awaits
    anything: what comes next is exactly what the picture does not show then.
    """

    def __init__(self, wanted: Wanted, queue: int, leave: Callable[["Changes"], None]) -> None:
        self._wanted = wanted
        self._most = queue
        self._leave = leave
        self._items: deque[Change] = deque()
        self._missed = 0
        self._renewed: Renewed | None = None
        self._arrived = asyncio.Event()
        self._ended: BaseException | None = None
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while (item := self._next()) is None:
            if self._ended is not None:
                raise Closed(f"the live view has ended: {self._ended}") from self._ended
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return item

    def _next(self) -> Item | None:
        if self._renewed is not None:
            item, self._renewed, self._missed = self._renewed, None, 0
            return item
        if self._missed:
            count, self._missed = self._missed, 0
            return Missed(count=count)
        return self._items.popleft() if self._items else None

    @property
    def waiting(self) -> int:
        """How many items wait to be taken."""
        return len(self._items)

    def close(self) -> None:
        """Be told no more; what waits can still be taken."""
        self._leave(self)
        self._is_closed = True
        self._arrived.set()

    async def aclose(self) -> None:
        """The same, for `contextlib.aclosing`."""
        self.close()

    def tell(self, item: Change | Renewed) -> None:
        if isinstance(item, Renewed):
            self._renewed = item
            self._items.clear()
        elif self._renewed is not None or not self._wanted.fits(item):
            # Whoever takes the renewal sees it in the picture.
            return
        elif self._missed or len(self._items) >= self._most:
            self._missed += len(self._items) + 1
            self._items.clear()
        else:
            self._items.append(item)
        self._arrived.set()

    def end(self, error: BaseException | None) -> None:
        self._ended, self._is_closed = error, True
        self._arrived.set()


class Readers:
    """All who are told."""

    def __init__(self) -> None:
        self._changes: dict[Changes, None] = {}
        self._callbacks: dict[str, list[Callable[[Any], None]]] = {}

    def join(self, wanted: Wanted, queue: int) -> Changes:
        made = Changes(wanted, queue, lambda reader: self._changes.pop(reader, None))
        self._changes[made] = None
        return made

    def on(self, kinds: Collection[str], call: Callable[[Any], None]) -> Callable[[], None]:
        """Have `call` called with items of these types; what is returned ends it."""
        for kind in kinds:
            self._callbacks.setdefault(kind, []).append(call)

        def off() -> None:
            for kind in kinds:
                if call in self._callbacks.get(kind, []):
                    self._callbacks[kind].remove(call)

        return off

    def tell(self, item: Change | Renewed) -> None:
        for reader in list(self._changes):
            reader.tell(item)
        for call in [*self._callbacks.get(item.type, ()), *self._callbacks.get("*", ())]:
            try:
                call(item)
            except Exception:
                # Whoever asked to be told must not end what tells the others.
                log.exception("a callback for %s failed", item.type)

    def end(self, error: BaseException | None) -> None:
        for reader in list(self._changes):
            reader.end(error)


def _series_of(table: str, row: Any) -> str | None:
    found = row.ticker if table == "series" else getattr(row, "series_ticker", None)
    return found if isinstance(found, str) else None


def _market_of(table: str, row: Any) -> str | None:
    name = {"markets": "ticker", "market_lifecycle_events": "market_ticker"}.get(table)
    return None if name is None else getattr(row, name)
