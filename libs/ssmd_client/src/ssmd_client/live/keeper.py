"""What keeps a live view's picture current, for as long as it runs.

snapshot → picture → follow the changes → where it breaks off, go on; where that cannot be, renew

Continuity is lost where the source says `Gone`, or a message is `SnapshotDue`: then everything is
read anew, and readers get `Renewed`.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from ssmd_client.errors import Closed, SecmasterError, Unreachable
from ssmd_client.live.compact import READERS, NotARow
from ssmd_client.live.follower import EpochEnded, Follower, Refetch, SnapshotDue
from ssmd_client.live.messages import Change, Message, Renewed
from ssmd_client.live.picture import Key, Picture
from ssmd_client.live.readers import Readers, log
from ssmd_client.live.source import Batch, Gone, Interrupted, RawRow, Source, Start
from ssmd_client.retries import doubled

T = TypeVar("T")

pause: Final = asyncio.sleep
"""How the time between two tries passes."""
FIRST_WAIT_SECONDS: Final = 0.25
_LONGEST_WAIT_SECONDS: Final = 15.0
SILENT_SECONDS: Final = 60.0
"""Sources tell of silence sooner; this is for what they do not notice."""
_AT_ONCE: Final = 2000
"""Rows of a snapshot that are taken over before others get their turn."""


@dataclass(frozen=True, slots=True)
class Age:
    """How old the picture is. `seconds`: since it was last known to hold all that was committed.

    `is_following` is false while the server is away and is tried again; then `why` says what is the
    matter. `sequence` and `position` are the last message's in the change stream; the latter is
    empty until one has come.
    """

    seconds: float
    is_following: bool
    why: str | None
    sequence: int
    position: str
    renewals: int


class Keeper:
    """Reads a source into a picture, and tells readers of what changes."""

    def __init__(self, source: Source, picture: Picture) -> None:
        self._source = source
        self._picture = picture
        self._follower: Follower | None = None
        self.readers = Readers()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._why: str | None = "it has not begun"
        self._known_at = 0.0
        self._sequence = 0
        self._renewals = -1
        self._unread_until = 0

    @property
    def age(self) -> Age:
        """How old the picture is."""
        return Age(
            seconds=max(time.time() - self._known_at, 0.0),
            is_following=self._why is None,
            why=self._why,
            sequence=self._sequence,
            position=str(self._follower.reached or "") if self._follower else "",
            renewals=max(self._renewals, 0),
        )

    async def wait(
        self, ticker: str, reached: Callable[[], T | None], timeout_seconds: float | None
    ) -> T:
        """What `reached` says, asked again whenever the market has changed, once it is not None.

        Raises:
            TimeoutError, Closed: it took too long, the view has ended.
        """
        woken = asyncio.Event()
        self._waiting.setdefault(ticker, set()).add(woken)
        try:
            async with asyncio.timeout(timeout_seconds):
                while (found := reached()) is None:
                    self._require_running()
                    woken.clear()
                    await woken.wait()
            return found
        finally:
            self._waiting[ticker].discard(woken)
            if not self._waiting[ticker]:
                del self._waiting[ticker]

    @asynccontextmanager
    async def running(self, patience_seconds: float | None) -> AsyncIterator[None]:
        self._task = asyncio.create_task(self._run(), name="ssmd live view")
        try:
            await self._begun(self._task, patience_seconds)
            yield
            self._require_running()
        finally:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                # Told already, or less than what ends the block.
                self._task.exception()
            self.readers.end(None)
            await self._source.close()

    async def _begun(self, task: "asyncio.Task[None]", patience_seconds: float | None) -> None:
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait(
                {task, ready}, timeout=patience_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if task.done():
            # It only ends by an error.
            task.result()
        if not self._ready.is_set():
            raise Unreachable(f"not ready within {patience_seconds:g} s: {self._why}")

    def _require_running(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            raise Closed(f"the live view has ended: {error}") from error

    async def _run(self) -> None:
        """Until it is cancelled, or cannot go on."""
        try:
            await self._keep_current()
        except SecmasterError as error:
            self._end(error)
            raise
        except Exception as error:
            log.exception("the live view failed")
            self._end(error)
            raise

    async def _keep_current(self) -> None:
        reason: str | None = "it was connected"
        failures = 0
        while True:
            try:
                if reason is not None:
                    await self._renew(reason)
                    reason = None
                async with aclosing(cast(Any, self._source.follow())) as batches:
                    while True:
                        async with asyncio.timeout(SILENT_SECONDS):
                            batch = await anext(batches)
                        failures = 0
                        await self._take(batch)
            except TimeoutError:
                self._lost(f"nothing came for {SILENT_SECONDS:g} s")
            except Gone as error:
                reason = str(error)
                self._lost(reason)
            except SnapshotDue as error:
                reason = str(error)
                self._lost(reason)
            except Interrupted as error:
                failures += 1
                await self._wait_a_while(error, failures)

    async def _wait_a_while(self, error: Interrupted, failures: int) -> None:
        self._lost(str(error))
        wait = doubled(FIRST_WAIT_SECONDS, failures, _LONGEST_WAIT_SECONDS)
        wait = max(wait, error.wait_seconds or 0.0)
        # Of many programs that lost one server, not all come again at once.
        await pause(wait * random.uniform(0.75, 1.25))  # noqa: S311

    def _lost(self, reason: str) -> None:
        if self._why is None:
            log.info("the live view is not current: %s", reason)
        self._why = reason

    async def _renew(self, reason: str) -> None:
        """Read everything anew, into the picture that there is: each row of it is right for its
        time all the while."""
        picture = self._picture
        seen: dict[str, set[Key]] = {table: set() for table in picture.tables}
        differences = dict.fromkeys(picture.tables, 0)
        start: Start | None = None
        began = 0.0
        async with aclosing(cast(Any, self._source.snapshot())) as parts:
            async for part in parts:
                if isinstance(part, Start):
                    start, began = part, time.time()
                    continue
                for at in range(0, len(part), _AT_ONCE):
                    self._take_over(part[at : at + _AT_ONCE], seen, differences)
                    await asyncio.sleep(0)
        if start is None:
            raise Interrupted("the snapshot has no beginning")
        for table, keys in seen.items():
            for key in [key for key in picture.tables[table] if key not in keys]:
                picture.remove(table, key)
                differences[table] += 1
        picture.is_lacking = False
        self._follower = Follower(picture, start.snapshot)
        self._sequence = start.sequence
        self._known_at = began
        self._renewals += 1
        if self._renewals:
            self._tell_renewed(reason, differences)

    def _take_over(
        self, part: list[RawRow], seen: dict[str, set[Key]], differences: dict[str, int]
    ) -> None:
        for table, raw in part:
            try:
                row = READERS[table].read(raw)
            except NotARow as error:
                # It stays as it was, as the stream's own readers keep it.
                log.warning("a row of %s cannot be read: %s", table, error)
                continue
            before, now = self._picture.put(table, row)
            if now is not None:
                seen[table].add(self._picture.key(table, row))
            if before != now:
                differences[table] += 1

    async def _take(self, batch: Batch) -> None:
        for message in batch.messages:
            await self._apply(message)
        self._sequence = batch.reached
        if batch.is_current:
            self._known_at = time.time()
        self._why = None
        self._ready.set()

    async def _apply(self, message: Message) -> None:
        assert self._follower is not None
        try:
            change = self._follower.apply(message)
        except Refetch as missing:
            change = await self._refetched(self._follower, missing, message)
        except EpochEnded as error:
            self._renewals += 1
            self._sequence = message.sequence
            self._tell_renewed(str(error), error.differences)
            return
        except SnapshotDue:
            if message.sequence <= self._unread_until:
                # The snapshot that was taken for it joined the stream before it.
                return
            self._unread_until = message.sequence
            raise
        if change is None:
            return
        self._sequence = message.sequence
        if change.at is not None:
            self._known_at = max(self._known_at, change.at.timestamp())
        self._wake(change)
        self.readers.tell(change)

    async def _refetched(
        self, follower: Follower, missing: Refetch, message: Message
    ) -> Change | None:
        """What the message did, by the row as it is now; asked for until there is an answer: what
        comes after it has been taken from the source already."""
        failures = 0
        while True:
            try:
                row = await self._source.row(missing.news.table, missing.key)
                return follower.replace(missing, message, row)
            except Interrupted as error:
                failures += 1
                await self._wait_a_while(error, failures)
            except NotARow as error:
                log.warning("a row of %s cannot be read: %s", missing.news.table, error)
                return None

    def _wake(self, change: Change) -> None:
        if change.table == "markets" and self._waiting:
            row = change.row if change.row is not None else change.before
            if row is None:
                self._wake_all()
                return
            for each in self._waiting.get(row.ticker, ()):
                each.set()

    def _wake_all(self) -> None:
        for several in self._waiting.values():
            for each in several:
                each.set()

    def _tell_renewed(self, reason: str, differences: dict[str, int]) -> None:
        log.info("the live view was renewed: %s", reason)
        self._wake_all()
        self.readers.tell(
            Renewed(
                reason=reason,
                at=datetime.now(UTC),
                sequence=self._sequence,
                differences={table: count for table, count in differences.items() if count},
            )
        )

    def _end(self, error: Exception) -> None:
        self._lost(str(error))
        self.readers.end(error)
        self._wake_all()
