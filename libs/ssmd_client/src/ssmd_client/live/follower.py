"""From messages of the change stream to the picture. Pure.

message → does it count (`ssmd_stream.course`) → its row, compact → the picture → what to tell
"""

from typing import Any, Final

from ssmd_client.live.compact import READERS, TABLES, NotARow
from ssmd_client.live.messages import Change, Message
from ssmd_client.live.picture import Key, Picture
from ssmd_common.errors import MalformedTime
from ssmd_common.times import moment
from ssmd_stream.change import Head, News, Position, decode_news, salvage
from ssmd_stream.course import Course
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.visibility import Snapshot

_UPDATED: Final = {
    "series": "series_updated",
    "events": "event_updated",
    "markets": "market_updated",
    "series_fees": "fee_changed",
    "fees": "fee_changed",
}


class Refetch(Exception):
    """The message does not carry its row: read it, and `replace` it."""

    def __init__(self, news: News, key: dict[str, Any]) -> None:
        super().__init__(f"a row of {news.table} was not carried")
        self.news = news
        self.key = key


class SnapshotDue(Exception):
    """The message concerns more than one row can tell."""


class EpochEnded(Exception):
    """All of an epoch was announced; `differences` counts the rows that are gone, by table."""

    def __init__(self, epoch: int, differences: dict[str, int]) -> None:
        super().__init__(f"epoch {epoch} of the publication began")
        self.differences = differences


class Follower:
    """Applies messages in order on top of a picture that was read in a snapshot."""

    def __init__(self, picture: Picture, snapshot: Snapshot | None) -> None:
        self._picture = picture
        self._course = Course(snapshot)
        self._announced: dict[str, set[Key]] = {}
        """Of each table whose announcement has begun: the rows that were written since."""
        self.reached: Position | None = None
        """The identity of the last message, if one has come."""

    def apply(self, message: Message) -> Change | None:
        """What to tell of the message; None where it changed nothing.

        Raises:
            Refetch, SnapshotDue, EpochEnded: there is more to do.
        """
        news = self._read(message)
        if news is None:
            return None
        meaning = self._course.of(news)
        if meaning is None:
            return None
        if meaning == "begin":
            if news.table in TABLES:
                # Also of an epoch after one that was abandoned before its end.
                self._announced[news.table] = set()
            return None
        if meaning == "end":
            raise EpochEnded(news.epoch, self._drop_older())
        if news.table not in READERS:
            return None
        if news.op == "truncate":
            if news.table in TABLES:
                self._picture.clear(news.table)
            return self._change(news, message, None, None)
        key = news.key or {}
        if news.op == "delete":
            return self._deleted(news, message, key)
        data = news.data
        if news.error is not None or bytes(data) == b"null":
            return self._missing(news, key)
        try:
            row = READERS[news.table].read(data)
        except NotARow:
            return self._missing(news, key)
        if news.table not in TABLES:
            return self._logged(news, message, row)
        return self._put(news, message, row, is_news=meaning == "row")

    def replace(self, refetch: Refetch, message: Message, row: bytes | None) -> Change | None:
        """What to tell of a row that was read for `refetch`; None: there is no such row."""
        news = refetch.news
        if row is None:
            return self._deleted(news, message, refetch.key)
        return self._put(news, message, READERS[news.table].read(row), is_news=True)

    def _read(self, message: Message) -> News | None:
        try:
            news = decode_news(message.payload)
            self.reached = news.position
            return news
        except UnreadableMessage as error:
            head = salvage(message.payload, message.subject, self.reached or Position(0, 0, 0))
            if head is not None:
                return _as_news(head)
            if message.subject.startswith("cdc.fees."):
                raise SnapshotDue("a message about fees cannot be read") from error
            return None

    def _put(self, news: News, message: Message, row: Any, *, is_news: bool) -> Change | None:
        table = news.table
        before, now = self._picture.put(table, row)
        if table in self._announced and now is not None:
            self._announced[table].add(self._picture.key(table, row))
        if self._picture.is_lacking:
            self._picture.is_lacking = False
            raise SnapshotDue("the category of an event or series changed")
        if (before is None and now is None) or (not is_news and before == now):
            return None
        return self._change(news, message, now, before)

    def _deleted(self, news: News, message: Message, key: dict[str, Any]) -> Change | None:
        if news.table not in TABLES:
            return self._change(news, message, None, None)
        found = _key_of(news.table, key)
        if found is None:
            raise SnapshotDue(f"a deletion in {news.table} does not say which row")
        if news.table in self._announced:
            self._announced[news.table].discard(found)
        before = self._picture.remove(news.table, found)
        return None if before is None else self._change(news, message, None, before)

    def _missing(self, news: News, key: dict[str, Any]) -> Change | None:
        if news.table not in TABLES:
            return None
        if not key:
            raise SnapshotDue(f"a change in {news.table} could not be carried")
        raise Refetch(news, key)

    def _logged(self, news: News, message: Message, row: Any) -> Change | None:
        """The log is told, not held."""
        scope, picture = self._picture.scope, self._picture
        if (scope.series or scope.categories) and not (
            row.market_ticker in picture.markets or row.event_ticker in picture.events
        ):
            return None
        return self._change(news, message, row, None)

    def _change(self, news: News, message: Message, row: Any, before: Any) -> Change:
        return Change(
            type=news.type or _UPDATED.get(news.table, "unreadable"),
            table=news.table,
            op=news.op,
            ticker=news.ticker,
            row=row,
            before=before,
            at=news.timestamp,
            sequence=message.sequence,
            position=str(self.reached),
            payload=message.payload,
        )

    def _drop_older(self) -> dict[str, int]:
        """Rows that were not announced again are gone."""
        dropped = {}
        for table, written in self._announced.items():
            gone = [key for key in self._picture.tables[table] if key not in written]
            for key in gone:
                self._picture.remove(table, key)
            dropped[table] = len(gone)
        self._announced.clear()
        return dropped


def _as_news(head: Head) -> News:
    return News(
        v=head.v,
        lsn=head.lsn,
        seq=head.seq,
        epoch=head.epoch,
        table=head.table,
        op=head.op,
        xid=head.xid,
        key=head.key,
        error=head.error,
    )


def _key_of(table: str, key: dict[str, Any]) -> Key | None:
    try:
        match table:
            case "events":
                return str(key["event_ticker"])
            case "series_fees":
                return (str(key["series_ticker"]), moment(key["effective_from"]))
            case "fees":
                return str(key["tier"])
            case _:
                return str(key["ticker"])
    except (KeyError, MalformedTime, TypeError):
        return None
