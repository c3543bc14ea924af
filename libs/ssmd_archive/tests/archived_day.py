"""Archived days of market data for tests: what was stored, and the archive of it."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from made_market_data import Maker, subject_of

from ssmd_archive.layout import MARKET_DATA, Layout
from ssmd_archive.lock import locked
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_stream.market.messages import Message, encoded

DAY = datetime(2026, 2, 3, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def at(hours: float, day: datetime = DAY) -> datetime:
    return day + timedelta(hours=hours)


def nanoseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def stored(
    messages: Iterable[Message | None], *, first: int = 1, shard: int | None = None
) -> list[Stored]:
    """As JetStream stores them when they are received; None is one that it loses."""
    return [
        Stored(
            number,
            subject_of(message, shard),
            encoded(message),
            nanoseconds(datetime.fromisoformat(message.received_at)) + 789,
        )
        for number, message in enumerate(messages, first)
        if message is not None
    ]


def archive(root: Path, messages: list[Stored], layout: Layout = MARKET_DATA) -> None:
    """Archive and seal them."""
    root.mkdir(exist_ok=True)
    with locked(root):
        writer = ArchiveWriter(root, layout, Rotation(900))
        writer.recover()
        if writer.created is None:
            writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        writer.take(messages)
        writer.work()
        writer.seal()
        writer.close()


def a_day(market: Maker) -> list[Message]:
    """Some of each kind, out of order by ticker."""
    messages: list[Message] = [market.record("opened", at=at(1))]
    for number in range(40):
        market.now = at(1) + timedelta(minutes=number)
        messages.append(market.trade(f"KX{'CAB'[number % 3]}-1", known=number % 5 > 0))
        messages.append(market.ticker(f"KX{'BCA'[number % 3]}-1", yes_bid="0.4100", volume="7.50"))
    messages.append(market.record("count", at=at(2), published={"trade": 40}, dropped={}))
    return messages
