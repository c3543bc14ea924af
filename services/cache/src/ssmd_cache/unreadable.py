"""What readers cannot be given: named in the log once, counted, and told by the health.

A row that cannot be read has no key. It is remembered in Redis as well, so that a cache which
goes on from there still says so.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from ssmd_cache.metrics import UNREADABLE, UNREADABLE_ROWS
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.health import Health

log = structlog.get_logger(__name__)

Row = tuple[str, str]
"""A table and a ticker; of a fee schedule the series'."""

_KEPT_SEQUENCES: Final = 1000
_KEPT_ROWS: Final = 1000
_LISTED: Final = 5
_decode: Final = msgspec.json.Decoder(list[tuple[str, str, str]]).decode


class Unreadable:
    """Rows in PostgreSQL and messages of the stream that the cache passes over."""

    def __init__(self, writer: RedisWriter, health: Health, retry: RedisRetry) -> None:
        self._writer = writer
        self._health = health
        self._retry = retry
        self._key = writer.keys.own("unreadable")
        self._changed = False
        self._told: dict[int, None] = {}
        self._without_row: tuple[int, int] | None = None
        self.rows: dict[Row, str] = {}
        """Each with what is the matter with it."""

    def message(self, sequence: int, subject: str, reason: str, row: Row | None, why: str) -> bool:
        """A message cannot be read; whether that is news."""
        if sequence in self._told:
            return False
        self._told[sequence] = None
        if len(self._told) > _KEPT_SEQUENCES:
            self._told.pop(next(iter(self._told)))
        UNREADABLE.labels(what="message", reason=reason).inc()
        if row is None:
            passed, _ = self._without_row or (0, 0)
            self._without_row = (passed + 1, sequence)
        if row is None or row not in self.rows:
            log.error(
                "a message of the stream cannot be read and is passed over",
                sequence=sequence,
                subject=subject[:300],
                row=row and " ".join(row),
                error=why,
            )
        self._tell()
        return True

    def other(self, reason: str) -> None:
        """A message of a table that has no keys: it would have changed nothing."""
        UNREADABLE.labels(what="message", reason=reason).inc()

    def add(self, row: Row, reason: str, why: str, sequence: int | None = None) -> None:
        """A row cannot be read."""
        if self.rows.get(row) == why:
            return
        UNREADABLE.labels(what="row", reason=reason).inc()
        log.error(
            "a row of the database cannot be read, redis does not show it",
            table=row[0],
            ticker=row[1],
            error=why,
            sequence=sequence,
        )
        self.rows[row] = why
        self._changed = True

    def readable(self, rows: Iterable[Row]) -> None:
        """These are fine, or gone."""
        for row in rows:
            if self.rows.pop(row, None) is not None:
                log.info("a row can be read again, or is gone", table=row[0], ticker=row[1])
                self._changed = True

    def replace(self, rows: Mapping[Row, str]) -> None:
        """A warm-up knows them all, and has what messages without a row were to tell."""
        self.readable([row for row in self.rows if row not in rows])
        for row, why in rows.items():
            self.add(row, "snapshot", why)
        self._without_row = None
        self._changed = True

    def complete(self) -> None:
        """Everything was compared, and what was passed over is missing nowhere."""
        self._without_row = None
        self._tell()

    async def load(self) -> None:
        """What the cache before this one knew."""
        text = await self._retry.call(lambda: self._writer.client.get(self._key))
        try:
            found = _decode(text or b"[]")
        except msgspec.DecodeError:
            found = []
        self.rows = {(table, ticker): why for table, ticker, why in found}
        self._tell()

    async def save(self) -> None:
        """Tell what changed."""
        if not self._changed:
            return
        rows = [(*row, why) for row, why in self.rows.items()][:_KEPT_ROWS]
        text = msgspec.json.encode(rows) if rows else b""
        await self._retry.call(lambda: self._writer.set(self._key, text))
        self._changed = False
        self._tell()

    def _tell(self) -> None:
        UNREADABLE_ROWS.set(len(self.rows))
        parts = []
        if self.rows:
            named = ", ".join(f"{table} {ticker}" for table, ticker in list(self.rows)[:_LISTED])
            more = len(self.rows) - _LISTED
            parts.append(
                f"Redis does not show rows that cannot be read ({named}"
                f"{f' and {more} more' if more > 0 else ''}): "
                "`ssmd cache verify` says what is the matter with them"
            )
        if self._without_row is not None:
            passed, last = self._without_row
            parts.append(
                f"{passed} messages that name no row were passed over, the last at {last}: "
                "`ssmd cache verify` says whether anything is missing"
            )
        self._health.degrade("unreadable", "; ".join(parts) or None)
