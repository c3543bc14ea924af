"""Following a stream for the `tail` verbs: in order, each message once, over reconnections."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from typing import Final

import nats.errors
import nats.js.errors

from ssmd_cli import output
from ssmd_cli.since import Start
from ssmd_common.errors import SsmdError, UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamMissing
from ssmd_stream.reader import reading
from ssmd_stream.stream import StoredMessage, Stream

_BATCH: Final = 200
_WAIT_SECONDS: Final = 2.0


class NoStream(SsmdError):
    exit_code = ExitCode.NOT_FOUND


async def follow(
    stream: Stream, filters: list[str], start: Start, *, maker: str
) -> AsyncGenerator[Delivery, None]:
    """In order, each once, over reconnections of the server; what is lost is said on stderr.

    Without `filters` all messages come. `maker` is the service that makes the stream.

    Raises:
        NoStream: it is not there, or not any more.
        UpstreamUnavailable: NATS has no JetStream, or does not answer at the start.
    """
    with _no_stream(stream, maker):
        following: int | None = await first_sequence(stream, start)
    while True:
        try:
            with _no_stream(stream, maker):
                if following is None:
                    following = await first_sequence(stream, None)
                async with reading(stream, following, subjects=filters) as reader:
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
def _no_stream(stream: Stream, maker: str) -> Iterator[None]:
    try:
        yield
    except StreamMissing:
        raise NoStream(
            f"the stream {stream.name} is not there: start {maker}, or check NATS_URL"
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
