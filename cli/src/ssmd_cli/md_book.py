"""A market's order book for `ssmd md book`: as it is, or live on a terminal."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from ssmd_cli import output
from ssmd_cli.following import NoStream, follow
from ssmd_cli.ladder import picture
from ssmd_cli.screen import Screen
from ssmd_common.book import Book
from ssmd_common.connections import nats as connections
from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import NatsSettings
from ssmd_stream.market import books
from ssmd_stream.market.ladder import apply
from ssmd_stream.market.messages import BookMessage, SessionRecord, decoded
from ssmd_stream.stream import Stream

_DRAW_SECONDS: Final = 0.2


class NoBook(SsmdError):
    exit_code = ExitCode.NOT_FOUND


@dataclass(slots=True)
class Known:
    """A book as far as its messages came. Holds `lock` for more than one look."""

    book: Book
    shard: int
    sequence: int = 0
    session: str = ""
    received_at: datetime | None = None
    changes: int = 0
    last: BookMessage | None = None
    doubt: str | None = None
    problem: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, message: BookMessage) -> None:
        """Apply a snapshot or a change."""
        if message.delta is None:
            apply(self.book, message)
            self.session, self.doubt = message.session, None
        elif message.session == self.session:
            apply(self.book, message)
            if not self.book.valid and self.doubt is None:
                self.doubt = "a change took more from a level than there was"
        self.received_at = datetime.fromisoformat(message.received_at)
        self.changes += 1
        self.last = message

    def heard(self, record: SessionRecord) -> None:
        """What happened to the capture since."""
        self.doubt = self.doubt or books.doubt([record], self.session, self.book.ticker)


async def _begin(client: Any, ticker: str) -> tuple[Stream, Known]:
    """The book as it is now.

    Raises:
        NoStream: no books are captured.
        NoBook: none of this market is.
    """
    streams = await books.book_streams(client)
    if not streams:
        raise NoStream(
            "no books are captured: there is no stream MARKET_BOOKS_0, which connector makes once "
            "its scope (CONNECTOR_SCOPE_FILE) has books"
        )
    shard = await books.find_shard(streams, ticker)
    found = None if shard is None else await books.course(streams[shard], shard, ticker)
    if found is None:
        raise NoBook(
            f"no book of {ticker} is captured: check the ticker, and whether connector's scope has "
            "its book"
        )
    known = Known(Book(ticker), found.shard)
    for message in found.messages:
        known.take(message)
    known.sequence, known.doubt = found.sequence, found.doubt or known.doubt
    return streams[found.shard], known


async def print_once(settings: NatsSettings, ticker: str, levels: int, *, as_json: bool) -> None:
    """Print the book as it is.

    Raises:
        NoStream, NoBook: there is none.
    """
    client = await connections.connect(settings, "ssmd-md-book", budget_seconds=5)
    try:
        _, known = await _begin(client, ticker)
    finally:
        await connections.close(client)
    if as_json:
        output.document(document(known))
        return
    size = (output.terminal_width() or 80, 2 * levels + 8)
    for line in _picture(known, levels, size, styled=output.is_bold()):
        print(line)


def document(known: Known) -> dict[str, Any]:
    """The book for programs: bids from the highest, asks from the lowest, in dollars of YES."""
    bids, asks = known.book.ladder()
    return {
        "ticker": known.book.ticker,
        "valid": known.book.valid and known.doubt is None,
        "doubt": known.doubt,
        "bids": bids,
        "asks": asks,
        "received_at": known.received_at and known.received_at.isoformat().replace("+00:00", "Z"),
        "shard": known.shard,
        "session": known.session,
    }


def live(settings: NatsSettings, ticker: str, levels: int) -> None:
    """Draw the book on the terminal until a key ends it.

    Raises:
        NoStream, NoBook: there is none.
        UpstreamUnavailable: NATS does not answer.
    """
    known: list[Known] = []
    ready = threading.Event()
    failed: list[BaseException] = []

    async def work() -> None:
        client = await connections.connect(settings, "ssmd-md-book", budget_seconds=5)
        try:
            stream, begun = await _begin(client, ticker)
            known.append(begun)
            ready.set()
            await _follow(stream, begun)
        finally:
            await connections.close(client)

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failed.append(error)
            ready.set()

    threading.Thread(target=run, name="ssmd-md-book", daemon=True).start()
    ready.wait()
    if failed:
        raise failed[0]
    with Screen() as screen:
        while not failed:
            with known[0].lock:
                styled = output.is_bold()
                lines = _picture(known[0], levels, screen.size, styled=styled, keys="q ends")
            screen.show(lines)
            if screen.waits(_DRAW_SECONDS):
                return
    raise failed[0]


async def _follow(stream: Stream, known: Known) -> None:
    subjects = [
        books.subject_of(known.shard, known.book.ticker),
        f"md.books_session.{known.shard}.>",
    ]
    async with contextlib.aclosing(
        follow(stream, subjects, known.sequence + 1, maker="connector")
    ) as followed:
        async for delivery in followed:
            try:
                message = decoded(delivery.payload)
            except ValueError:
                continue
            with known.lock:
                if isinstance(message, BookMessage):
                    known.take(message)
                elif isinstance(message, SessionRecord):
                    known.heard(message)


def _picture(
    known: Known, levels: int, size: tuple[int, int], *, styled: bool, keys: str = ""
) -> list[str]:
    last = known.last
    changed = Decimal(last.price) if last and last.delta is not None and last.price else None
    if changed is not None and last and last.side == "no" and not last.yes_price:
        changed = 1 - changed
    return picture(
        known.book,
        levels,
        size,
        age_seconds=None
        if known.received_at is None
        else (datetime.now(UTC) - known.received_at).total_seconds(),
        changes=known.changes,
        doubt=known.doubt,
        changed=changed,
        styled=styled,
        keys=keys,
    )
