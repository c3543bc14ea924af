"""How market data are captured, for `ssmd md status`: from their streams and `service_status`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nats.aio.client import Client
from pydantic import SecretStr

from ssmd_cli import facts, output
from ssmd_cli.cdc_status import size
from ssmd_cli.flow import look_once
from ssmd_cli.life import duration
from ssmd_common.connections import nats as connections
from ssmd_common.errors import SsmdError
from ssmd_common.parts import Part, Process, parts_of
from ssmd_common.settings import NatsSettings
from ssmd_common.streams import MARKET_DATA_STREAM, books_stream
from ssmd_common.words import counted
from ssmd_stream.errors import StreamMissing
from ssmd_stream.market.messages import SessionRecord, decoded
from ssmd_stream.market.sessions import Session, sessions_of
from ssmd_stream.recent import all_from
from ssmd_stream.stream import Stream, StreamInfo

SPAN: Final = timedelta(hours=1)
"""Records of the last hour tell how the capture is."""
SILENT_SECONDS: Final = 45.0
"""A count comes every few seconds, 30 at most."""
_MOST_RECORDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Captured:
    """One stream, and what its records tell."""

    name: str
    info: StreamInfo
    sessions: list[Session]

    def living(self, now: datetime) -> list[Session]:
        """Connections that have not ended, and still count."""
        return [
            session
            for session in self.sessions
            if session.closed is None and (now - session.last_at).total_seconds() <= SILENT_SECONDS
        ]


@dataclass(frozen=True, slots=True)
class Status:
    """`problems` are sentences; empty if all is well. `service` is None where nobody can ask."""

    now: datetime
    streams: list[Captured]
    service: Part | None
    problems: list[str] = field(default_factory=list)


async def look(settings: NatsSettings) -> Status:
    """Read it.

    Raises:
        UpstreamUnavailable: NATS does not answer.
    """
    service, problems = await _service()
    client = await connections.connect(settings, "ssmd-md-status", budget_seconds=5)
    now = datetime.now(UTC)
    try:
        streams = await _streams(client, now)
    finally:
        await connections.close(client)
    if not streams:
        problems.append(
            f"the stream {MARKET_DATA_STREAM} does not exist: connector makes it when it starts "
            "(CONNECTOR_ENABLED turns it off)"
        )
    for stream in streams:
        problems += _problems(stream, now)
    return Status(now, streams, service, problems)


async def _service() -> tuple[Part | None, list[str]]:
    url = os.environ.get("DATABASE_URL")
    if not url:
        return None, []
    try:
        parts = parts_of(await look_once(SecretStr(url)))
    except SsmdError as error:
        return None, [str(error)]
    part = next(part for part in parts if part.name == "connector")
    return part, [f"connector: {part.note}"] if part.note else []


async def _streams(client: Client, now: datetime) -> list[Captured]:
    found = [await _captured(client, MARKET_DATA_STREAM, "md.session.>", now)]
    while (
        shard := await _captured(
            client, books_stream(len(found) - 1), f"md.books_session.{len(found) - 1}.>", now
        )
    ) is not None:
        found.append(shard)
    return [stream for stream in found if stream is not None]


async def _captured(client: Client, name: str, records: str, now: datetime) -> Captured | None:
    stream = Stream(client, name, publisher="connector")
    try:
        info = await stream.info()
    except StreamMissing:
        return None
    since = await stream.first_where(lambda message: message.stored_at >= now - SPAN)
    told = []
    for delivery in await all_from(stream, [records], since, most=_MOST_RECORDS):
        try:
            message = decoded(delivery.payload)
        except ValueError:
            output.note(f"record {delivery.sequence} of {name} is unreadable")
            continue
        if isinstance(message, SessionRecord):
            told.append(message)
    return Captured(name, info, sessions_of(told))


def _problems(stream: Captured, now: datetime) -> list[str]:
    living = stream.living(now)
    if not living:
        last = max((session.last_at for session in stream.sessions), default=None)
        told = "in the last hour" if last is None else f"since {last:%H:%M:%S} UTC"
        return [f"{stream.name}: no connection has said anything {told}: is connector running?"]
    found = []
    if not any(session.channels for session in living) and any(s.opened for s in living):
        found.append(f"{stream.name}: connected, and the exchange confirmed no subscription")
    dropped = sum(sum(s.counts[-1].dropped.values()) for s in living if s.counts)
    if dropped:
        found.append(f"{stream.name}: {dropped:,} messages found no room (CONNECTOR_OUTBOX_*)")
    return found


def document(found: Status) -> dict[str, Any]:
    """The same for programs."""
    service = found.service
    return {
        "now": _text(found.now),
        "service": None
        if service is None
        else {
            "state": service.state,
            "ready": service.ready,
            "lag_seconds": service.speaker and service.speaker.lag_seconds,
            "position": service.speaker.position if service.speaker else {},
            "note": service.note,
            "processes": [
                {
                    "instance": process.instance,
                    "state": process.state,
                    "ready": process.ready,
                    "lag_seconds": process.lag_seconds,
                    "work_per_second": process.work_per_second,
                    "position": process.position,
                }
                for process in service.processes
                if process.alive
            ],
        },
        "streams": [_stream_document(stream, found.now) for stream in found.streams],
        "problems": found.problems,
    }


def _stream_document(stream: Captured, now: datetime) -> dict[str, Any]:
    living = {session.session for session in stream.living(now)}
    return {
        "stream": stream.name,
        "messages": stream.info.messages,
        "bytes": stream.info.bytes,
        "oldest_at": _text(stream.info.first_at),
        "newest_at": _text(stream.info.last_at),
        "age_seconds": _age(stream.info.last_at, now),
        "connections": len(living),
        "gaps_last_hour": sum(len(session.holes) for session in stream.sessions),
        "sessions": [
            {
                "session": session.session,
                "connector": session.connector,
                "first_at": _text(session.first_at),
                "last_at": _text(session.last_at),
                "living": session.session in living,
                "closed": session.closed,
                "subscriptions": {
                    name: {
                        "since": _text(channel.since),
                        "markets": None if channel.everything else len(channel.tickers),
                    }
                    for name, channel in session.channels.items()
                },
                "per_second": session.per_second(),
                "dropped": session.counts[-1].dropped if session.counts else {},
                "gaps": [
                    {
                        "of_channel": hole.channel,
                        "since": _text(hole.since),
                        "until": _text(hole.until),
                        "reason": hole.reason,
                    }
                    for hole in session.holes
                ],
                "repairs": session.repairs,
                "repaired_trades": session.repaired_trades,
                "errors": session.errors,
            }
            for session in stream.sessions
        ],
    }


def show(found: Status) -> None:
    """A line for each fact on stdout, what is wrong on stderr."""
    shown: list[facts.Fact] = []
    if service := found.service:
        living = [process for process in service.processes if process.alive]
        if not living:
            shown.append(("connector", service.state))
        shown += [("connector", ", ".join(_told(process))) for process in living]
    for stream in found.streams:
        shown += _of_stream(stream, found.now)
    facts.show(shown, found.problems)


def _told(process: Process) -> Iterator[str]:
    """What one process of connector says of itself."""
    yield process.state
    position = process.position
    for what in ("channels", "books"):
        if wanted := position.get(f"{what}_wanted"):
            yield f"{position.get(f'{what}_confirmed', 0):,} of {wanted:,} {what} confirmed"
    if without := position.get("books_without_place"):
        yield f"{without:,} books found every connection full"
    if "connections" in position:
        yield counted(position["connections"], "connection")
    if "waiting" in position:
        yield f"{counted(position['waiting'], 'message')} waiting"
    if process.lag_seconds is not None:
        yield f"lag {process.lag_seconds:.1f} s"
    if "gaps" in position:
        yield f"{counted(position['gaps'], 'gap')} since its start"
    if "dropped" in position:
        yield f"{position['dropped']:,} dropped since its start"


def _of_stream(stream: Captured, now: datetime) -> Iterator[facts.Fact]:
    info = stream.info
    held = f"{size(info.bytes)} of {size(info.configuration['max_bytes'])}"
    yield "stream", f"{stream.name}, {info.messages:,} messages, {held}"
    yield "oldest message", _ago(info.first_at, now)
    yield "newest message", _ago(info.last_at, now)
    living = stream.living(now)
    yield "connections", f"{len(living)} now, {len(stream.sessions)} in the last hour"
    for session in living:
        confirmed = ", ".join(
            f"{name} ({'all markets' if channel.everything else f'{len(channel.tickers)} markets'})"
            for name, channel in session.channels.items()
        )
        # One that was subscribed more than an hour ago tells it with a record that is not read.
        told = confirmed or ("none" if session.opened else "confirmed before the last hour")
        yield "subscriptions", f"of connector {session.connector}: {told}"
        rates = session.per_second()
        if rates:
            told = ", ".join(f"{name} {rate:,.1f}" for name, rate in sorted(rates.items()))
            yield "a second", told
    holes = [hole for session in stream.sessions for hole in session.holes]
    trades = sum(session.repaired_trades for session in stream.sessions)
    repairs = sum(session.repairs for session in stream.sessions)
    yield "gaps, last hour", f"{len(holes)}; {repairs} repairs found {trades} trades"
    for hole in holes[-5:]:
        until = f"{hole.until:%H:%M:%S} UTC"
        span = f"before {until}" if hole.since is None else f"{hole.since:%H:%M:%S} to {until}"
        yield "gap", f"{hole.channel or 'all'}, {span}, {hole.reason}"


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "none"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC, {duration(max(now - at, timedelta()))} ago"


def _age(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else round((now - at).total_seconds(), 3)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
