"""Reading SECMASTER_CDC for `ssmd cdc tail`."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from rich.console import Console
from rich.text import Text

from ssmd_cli import output
from ssmd_common.connections import nats as connections
from ssmd_common.errors import (
    ConfigurationError,
    SsmdError,
    UpstreamUnavailable,
)
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import NatsSettings
from ssmd_stream import subjects
from ssmd_stream.change import Change, decode, parse_lsn
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamMissing, UnreadableMessage
from ssmd_stream.reader import reading
from ssmd_stream.stream import StoredMessage, Stream

_BATCH: Final = 200
_WAIT_SECONDS: Final = 2.0
_AGE = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OF_SERIES: Final = {"series": "", "series_fees": "", "events": ".>", "markets": ".>"}


class NoStream(SsmdError):
    exit_code = ExitCode.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Lsn:
    """From the first change at or after this LSN, in the epoch that is current."""

    number: int


Start = int | datetime | Lsn | None


@dataclass(frozen=True, slots=True)
class Filter:
    series: str | None
    table: str | None
    type: str | None

    def subjects(self) -> list[str]:
        """What to ask the server for; it filters, so that nothing else travels.

        Raises:
            ConfigurationError: the table is none that has a series.
        """
        table = self.table and subjects.token(self.table)
        if self.series is None:
            return [f"cdc.{table}.>" if table else subjects.SUBJECTS]
        if self.table is not None and self.table not in _OF_SERIES:
            raise ConfigurationError(
                f"--series cannot be used with --table {self.table}: only "
                f"{', '.join(_OF_SERIES)} carry their series"
            )
        wanted = subjects.token(self.series)
        tables = [self.table] if self.table else list(_OF_SERIES)
        found = [f"cdc.{name}.*.{wanted}{_OF_SERIES[name]}" for name in tables]
        if wanted != subjects.token(None):
            # A row that could not be read may be one of this series.
            found += [subjects.unreadable_filter(name) for name in tables]
        return found


def parse_since(text: str | None) -> Start:
    """A stream sequence, an LSN, a time (UTC unless it says otherwise) or an age.

    Raises:
        ConfigurationError: it is none of them.
    """
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    if age := _AGE.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])
    try:
        if "/" in text:
            return Lsn(parse_lsn(text))
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--since {text} is no stream sequence (1042), LSN (0/16B3748), time "
            "(2026-02-03T22:00:00Z) or age (15m, 24h, 7d)"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def tail(
    settings: NatsSettings, wanted: Filter, start: Start, *, limit: int | None, as_json: bool
) -> None:
    """Print messages until `limit` are, or for ever.

    Raises:
        NoStream: the stream is not there.
    """
    filters = wanted.subjects()
    client = await connections.connect(settings, "ssmd-cdc-tail", budget_seconds=5, service="api")
    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    try:
        async with contextlib.aclosing(follow(client, filters, start)) as followed:
            async for message in followed:
                change = read(message)
                if change is None:
                    continue
                if wanted.type and message.headers.get("Ssmd-Type") != wanted.type:
                    continue
                if as_json:
                    sys.stdout.write(message.payload.decode().replace("\n", " ") + "\n")
                    sys.stdout.flush()
                else:
                    console.print(line(change))
                shown += 1
                if shown == limit:
                    return
    finally:
        await connections.close(client)


def read(message: Delivery) -> Change | None:
    """The change of a message. None if it cannot be read, which is said on stderr."""
    try:
        return decode(message.payload)
    except UnreadableMessage as error:
        place = f"message {message.sequence} ({message.subject})"
        output.note(f"{place} is passed over as unreadable: {error}")
        return None


async def follow(
    client: Client, filters: list[str], start: Start
) -> AsyncGenerator[Delivery, None]:
    """In order, each once, over reconnections of the server; what is lost is said on stderr.

    Raises:
        NoStream: it is not there, or not any more.
        UpstreamUnavailable: NATS has no JetStream, or does not answer at the start.
    """
    stream = Stream(client)
    with _no_stream():
        following: int | None = await first_sequence(stream, start)
    wanted = [] if filters == [subjects.SUBJECTS] else filters
    while True:
        try:
            with _no_stream():
                if following is None:
                    following = await first_sequence(stream, None)
                async with reading(stream, following, subjects=wanted) as reader:
                    while True:
                        for message in await reader.batch(_BATCH, _WAIT_SECONDS):
                            yield message
                        following = reader.next_sequence
        except StreamGap as gap:
            output.note(str(gap))
            # A stream that ends before is another or a restored one: what comes there is new.
            following = gap.lost.stop if gap.lost else None
        except (ReaderBroken, UpstreamUnavailable, nats.errors.Error, nats.js.errors.Error):
            # However long the server is away: its client reconnects by itself.
            await asyncio.sleep(0.5)


@contextlib.contextmanager
def _no_stream() -> Iterator[None]:
    try:
        yield
    except StreamMissing:
        raise NoStream(
            f"the stream {subjects.STREAM} is not there: start cdc, or check NATS_URL"
        ) from None


async def first_sequence(stream: Stream, start: Start) -> int:
    """Where in the stream to begin; positions and times only grow in it."""
    info = await stream.info()
    if start is None:
        return info.last_sequence + 1
    if isinstance(start, int):
        return min(max(start, info.first_sequence), info.last_sequence + 1)
    if isinstance(start, datetime):
        return await stream.first_where(lambda message: message.stored_at >= start)
    last = info.last_sequence
    while last >= info.first_sequence and (newest := await stream.position_at(last)) is None:
        last -= 1
    if last < info.first_sequence:
        return info.last_sequence + 1
    assert newest is not None
    place = (newest.epoch, start.number)

    def reached(message: StoredMessage) -> bool | None:
        position = message.position
        return None if position is None else (position.epoch, position.lsn) >= place

    return await stream.first_where(reached)


def clock(at: datetime) -> str:
    """The time of day in UTC; of a time whose UTC Python cannot hold, in its own zone."""
    with contextlib.suppress(OverflowError):
        at = at.astimezone(UTC)
    return f"{at:%H:%M:%S.%f}"[:12]


_STYLES: Final = {
    "insert": "green",
    "update": "cyan",
    "delete": "red",
    "truncate": "bold red",
    "snapshot_begin": "magenta",
    "snapshot_end": "magenta",
}


def line(change: Change) -> Text:
    """One change for a person: when, what, which, and what differs."""
    style = "yellow" if change.error else _STYLES[change.op]
    text = Text()
    text.append(clock(change.timestamp), style="dim")
    text.append(f"  {change.type:<18}", style=style)
    text.append(f" {change.ticker or change.table}", style="bold")
    if change.error:
        text.append(f"  {change.error}", style="yellow")
    for name, difference in (change.changes or {}).items():
        if name in ("updated_at", "observed_at"):
            continue
        text.append(f"  {name} ", style="dim")
        text.append(f"{_short(difference.old)}→{_short(difference.new)}")
    return text


def _short(value: object) -> str:
    try:
        text = "∅" if value is None else str(value)
    except RecursionError:
        text = "…"
    return text if len(text) <= 40 else f"{text[:39]}…"
