"""A market's book in MARKET_BOOKS_<shard>: its last snapshot, what changed since, and whether that
is all that changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from nats.aio.client import Client

from ssmd_common.streams import books_stream
from ssmd_stream.errors import StreamMissing
from ssmd_stream.market.messages import BookMessage, SessionRecord, decoded
from ssmd_stream.market.sessions import moment
from ssmd_stream.recent import all_from, recent
from ssmd_stream.stream import Stream
from ssmd_stream.subjects import token

_FIRST_READ: Final = 200
_MORE: Final = 8
_MOST: Final = 200_000
"""Messages of one market that are looked at for a snapshot."""
_MOST_RECORDS: Final = 100_000
CHANNELS: Final = ("book", "orderbook_delta")
"""What records call the channel: ours, and the exchange's name."""


@dataclass(frozen=True, slots=True)
class BookCourse:
    """`messages` begin with a snapshot; `sequence` is the last one's in the stream, and
    `snapshot_sequence` the snapshot's."""

    shard: int
    messages: list[BookMessage]
    snapshot_sequence: int
    sequence: int
    stored_at: float
    doubt: str | None
    """Why it may not be the exchange's any more; None while nothing speaks against it."""
    confirmed_at: datetime | None
    """The last count of its session: until then nothing was missing."""


async def book_streams(client: Client) -> list[Stream]:
    """The streams of books there are, by shard.

    Raises:
        StreamUnavailable, UpstreamUnavailable: NATS does not tell.
    """
    found: list[Stream] = []
    while True:
        stream = Stream(client, books_stream(len(found)), publisher="connector")
        try:
            await stream.info()
        except StreamMissing:
            return found
        found.append(stream)


async def find_shard(streams: Sequence[Stream], ticker: str) -> int | None:
    """The shard that said something of a market last; None where none did."""
    latest: tuple[datetime, int] | None = None
    for shard, stream in enumerate(streams):
        last = await stream.last(subject_of(shard, ticker))
        if last is not None and (latest is None or last.stored_at > latest[0]):
            latest = (last.stored_at, shard)
    return None if latest is None else latest[1]


def subject_of(shard: int, ticker: str) -> str:
    """The market's messages, whatever series and event it was filed under."""
    return f"md.book.{shard}.*.*.{token(ticker)}"


async def course(stream: Stream, shard: int, ticker: str) -> BookCourse | None:
    """The last snapshot that the stream holds and all after it; None where it holds none.

    Raises:
        StreamUnavailable, UpstreamUnavailable: NATS does not tell.
    """
    most = _FIRST_READ
    while True:
        found, has_more = await recent(stream, [subject_of(shard, ticker)], most)
        read = [(one, message) for one in found if (message := _book(one.payload)) is not None]
        begins = [at for at, (_, message) in enumerate(read) if message.delta is None]
        if begins:
            break
        if not has_more or most >= _MOST:
            return None
        most = min(most * _MORE, _MOST)
    read = read[begins[-1] :]
    first, last = read[0][0], read[-1][0]
    subjects = [f"md.books_session.{shard}.>"]
    told = await all_from(stream, subjects, first.sequence, most=_MOST_RECORDS)
    records = [record for one in told if (record := _record(one.payload)) is not None]
    session = read[0][1].session
    return BookCourse(
        shard,
        [message for _, message in read],
        first.sequence,
        last.sequence,
        last.stored_at,
        doubt(records, session, ticker),
        max(
            (
                moment(record.until or record.received_at)
                for record in records
                if record.session == session and record.what == "count"
            ),
            default=None,
        ),
    )


def doubt(records: Iterable[SessionRecord], session: str, ticker: str) -> str | None:
    """What ended a book's continuity after its snapshot, of records that came after it. Pure."""
    dropped: int | None = None
    for record in records:
        if record.session != session:
            if record.what in ("opened", "takeover"):
                return "another connection took over, and no snapshot has come yet"
            continue
        if record.of_channel is not None and record.of_channel not in CHANNELS:
            continue
        at = f"at {record.received_at}"
        match record.what:
            case "gap":
                return f"messages were missed {at}, and no snapshot has come yet"
            case "closed" | "error" | "unsubscribed":
                return f"the capture ended {at} ({record.reason or record.what})"
            case "removed" if ticker in (record.tickers or ()):
                return f"the market was unsubscribed {at}"
            case "dropped" if "book" in (record.published or {}):
                return f"messages found no room {at}, and no snapshot has come yet"
            case "count":
                so_far = (record.dropped or {}).get("book", 0)
                if dropped is not None and so_far > dropped:
                    return f"messages found no room {at}, and no snapshot has come yet"
                dropped = so_far
            case _:
                pass
    return None


def _book(payload: bytes) -> BookMessage | None:
    try:
        message = decoded(payload)
    except ValueError:
        return None
    return message if isinstance(message, BookMessage) else None


def _record(payload: bytes) -> SessionRecord | None:
    try:
        message = decoded(payload)
    except ValueError:
        return None
    return message if isinstance(message, SessionRecord) else None
