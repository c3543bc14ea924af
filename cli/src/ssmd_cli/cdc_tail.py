"""Reading SECMASTER_CDC for `ssmd cdc tail`."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from rich.console import Console
from rich.text import Text

from ssmd_cli import output
from ssmd_common import subjects
from ssmd_common.change import Change, Position, decode, parse_lsn
from ssmd_common.connections import nats as connections
from ssmd_common.errors import (
    ConfigurationError,
    MalformedChange,
    SsmdError,
    UpstreamUnavailable,
)
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import NatsSettings

_BATCH: Final = 200
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
        async for message in follow(client, filters, start):
            change = read(message)
            if change is None:
                continue
            if wanted.type and (message.headers or {}).get("Ssmd-Type") != wanted.type:
                continue
            if as_json:
                sys.stdout.write(message.data.decode().replace("\n", " ") + "\n")
                sys.stdout.flush()
            else:
                console.print(line(change))
            shown += 1
            if shown == limit:
                return
    finally:
        await connections.close(client)


def read(message: Msg) -> Change | None:
    """The change of a message. None if it cannot be read, which is said on stderr."""
    try:
        return decode(message.data)
    except MalformedChange as error:
        number, reason = message.metadata.sequence.stream, error.__cause__ or error
        output.note(f"message {number} ({message.subject}) is passed over as unreadable: {reason}")
        return None


async def follow(client: Client, filters: list[str], start: Start) -> AsyncIterator[Msg]:
    """In order, each once, over reconnections of the server.

    Raises:
        NoStream: it is not there, or not any more.
        UpstreamUnavailable: NATS has no JetStream, or does not answer at the start.
    """
    js = client.jetstream()
    try:
        with _no_stream():
            await js.stream_info(subjects.STREAM)
            following: Start = await sequence_of(js, start) if isinstance(start, Lsn) else start
    except (nats.js.errors.Error, nats.errors.Error) as error:
        raise UpstreamUnavailable(
            f"NATS does not tell of its streams ({error}): check that it runs with JetStream"
        ) from error
    while True:
        try:
            with _no_stream():
                info = await js.add_consumer(subjects.STREAM, _consumer(filters, following))
            subscription = await js.pull_subscribe_bind(info.name, subjects.STREAM)
            while True:
                try:
                    messages = await subscription.fetch(_BATCH, timeout=2)
                except TimeoutError:
                    # A consumer lives in the server's memory: is it still there?
                    await subscription.consumer_info()
                    continue
                for message in messages:
                    following = message.metadata.sequence.stream + 1
                    yield message
        except (nats.js.errors.Error, nats.errors.Error):
            # However long the server is away: its client reconnects by itself.
            await asyncio.sleep(0.5)


@contextlib.contextmanager
def _no_stream() -> Iterator[None]:
    try:
        yield
    except nats.js.errors.NotFoundError:
        raise NoStream(
            f"the stream {subjects.STREAM} is not there: start cdc, or check NATS_URL"
        ) from None


def _consumer(filters: list[str], start: Start) -> ConsumerConfig:
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        filter_subjects=filters,
        mem_storage=True,
        inactive_threshold=60.0,
        deliver_policy=DeliverPolicy.NEW,
    )
    if isinstance(start, datetime):
        config.deliver_policy = DeliverPolicy.BY_START_TIME
        config.opt_start_time = start
    elif isinstance(start, int):
        config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
        config.opt_start_seq = max(1, start)
    return config


async def sequence_of(js: JetStreamContext, lsn: Lsn) -> int:
    """Where in the stream the first change at or after an LSN is: positions only grow."""
    state = (await js.stream_info(subjects.STREAM)).state
    low, high = state.first_seq, state.last_seq + 1
    last = high
    while last > low and (newest := await _position(js, last - 1)) is None:
        last -= 1
    if last == low:
        return high
    assert newest is not None
    while low < high:
        middle = (low + high) // 2
        position = await _position(js, middle)
        if position and (position.epoch, position.lsn) < (newest.epoch, lsn.number):
            low = middle + 1
        else:
            high = middle
    return low


async def _position(js: JetStreamContext, sequence: int) -> Position | None:
    """Of the first message from there on that has one; None if there is none."""
    while True:
        try:
            message = await js.get_msg(subjects.STREAM, sequence, subjects.SUBJECTS, next=True)
        except nats.js.errors.NotFoundError:
            return None
        with contextlib.suppress(ValueError):
            return Position.parse((message.headers or {}).get("Nats-Msg-Id", ""))
        with contextlib.suppress(MalformedChange):
            return decode(message.data or b"").position
        sequence = (message.seq or sequence) + 1


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
