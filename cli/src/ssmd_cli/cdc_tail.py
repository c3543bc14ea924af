"""Reading SECMASTER_CDC for `ssmd cdc tail`."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from ssmd_cli import output
from ssmd_cli.changes import Filter, line
from ssmd_cli.console import Terminal
from ssmd_cli.since import Start
from ssmd_common.connections import nats as connections
from ssmd_common.errors import SsmdError, UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import NatsSettings
from ssmd_stream import subjects
from ssmd_stream.change import Change, decode
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamMissing, UnreadableMessage
from ssmd_stream.reader import reading
from ssmd_stream.stream import StoredMessage, Stream

_BATCH: Final = 200
_WAIT_SECONDS: Final = 2.0


class NoStream(SsmdError):
    exit_code = ExitCode.NOT_FOUND


async def tail(
    settings: NatsSettings, wanted: Filter, start: Start, *, limit: int | None, as_json: bool
) -> None:
    """Print messages until `limit` are, or for ever.

    Raises:
        NoStream: the stream is not there.
    """
    filters = wanted.subjects()
    client = await connections.connect(settings, "ssmd-cdc-tail", budget_seconds=5, service="api")
    console = Terminal(soft_wrap=True)
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
