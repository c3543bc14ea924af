"""What records of the capture say of its sessions. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ssmd_stream.market.messages import SessionRecord


@dataclass(slots=True)
class Channel:
    """A subscription that the exchange confirmed; `tickers` where it has a list."""

    since: datetime
    everything: bool
    tickers: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Count:
    """How many messages of each channel the session had published and dropped by then."""

    at: datetime
    published: dict[str, int]
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class Hole:
    """`until` is when it was noticed; `since` None: since before the session."""

    channel: str | None
    since: datetime | None
    until: datetime
    reason: str


@dataclass(slots=True)
class Session:
    """One life of a connection, as far as its records tell."""

    connector: str
    session: str
    first_at: datetime
    last_at: datetime
    frame: int = 0
    opened: bool = False
    closed: str | None = None
    """Why it ended; None while it lives, or where it died without a word."""
    channels: dict[str, Channel] = field(default_factory=dict)
    counts: list[Count] = field(default_factory=list)
    """The first and the last that came."""
    holes: list[Hole] = field(default_factory=list)
    repaired_trades: int = 0
    repairs: int = 0
    errors: list[str] = field(default_factory=list)

    def per_second(self) -> dict[str, float]:
        """Messages of each channel, between the counts that are known."""
        if len(self.counts) < 2:
            return {}
        old, new = self.counts[0], self.counts[-1]
        seconds = (new.at - old.at).total_seconds()
        if seconds <= 0:
            return {}
        return {
            channel: (number - old.published.get(channel, 0)) / seconds
            for channel, number in new.published.items()
        }


def moment(text: str) -> datetime:
    """A time of a message."""
    return datetime.fromisoformat(text)


def sessions_of(records: list[SessionRecord]) -> list[Session]:
    """The sessions that the records tell of, in the order of their first ones."""
    found: dict[str, Session] = {}
    for record in records:
        at = moment(record.received_at)
        session = found.get(record.session)
        if session is None:
            session = found[record.session] = Session(record.connector, record.session, at, at)
        session.last_at = max(session.last_at, at)
        session.frame = max(session.frame, record.frame)
        _take(session, record, at)
    return list(found.values())


def _take(session: Session, record: SessionRecord, at: datetime) -> None:
    channel = record.of_channel or ""
    match record.what:
        case "opened":
            session.opened = True
        case "closed":
            session.closed = record.reason or "closed"
            session.channels.clear()
        case "takeover":
            _take_over(session, record, at)
        case "subscribed":
            tickers = set(record.tickers or ())
            session.channels[channel] = Channel(at, record.everything, tickers)
        case "added" | "removed":
            known = session.channels.setdefault(channel, Channel(at, everything=False))
            change = (
                known.tickers.update if record.what == "added" else known.tickers.difference_update
            )
            change(record.tickers or ())
        case "unsubscribed" | "error":
            session.channels.pop(channel, None)
            if record.what == "error":
                session.errors.append(record.reason or "error")
        case "refused":
            session.errors.append(record.reason or "refused")
        case "count":
            count = Count(at, record.published or {}, record.dropped or {})
            session.counts[1:] = [count]
        case "gap":
            since = None if record.since is None else moment(record.since)
            until = at if record.until is None else moment(record.until)
            session.holes.append(Hole(record.of_channel, since, until, record.reason or ""))
        case "repaired":
            session.repairs += 1
            session.repaired_trades += record.trades or 0
        case _:
            pass


def _take_over(session: Session, record: SessionRecord, at: datetime) -> None:
    """What it had subscribed before it published."""
    session.opened = True
    if record.of_channel is not None:
        session.channels[record.of_channel] = Channel(at, False, set(record.tickers or ()))
    elif record.since is not None:
        for channel in ("trade", "ticker"):
            session.channels.setdefault(channel, Channel(moment(record.since), everything=True))
