"""The end of a stream, by the identities of its messages: which of ours it has, and which are not.

The last message alone would not tell. Where a foreign message took the place of one of ours, that
one was refused, and those after it may have been stored.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import nats.errors

from ssmd_common.connections.nats_rights import NatsClient
from ssmd_common.errors import UpstreamUnavailable
from ssmd_stream.errors import (
    ApiError,
    Fenced,
    MayNot,
    ReaderBroken,
    StreamChanged,
    StreamGap,
    StreamUnavailable,
)
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream, StreamInfo

_BATCH: Final = 1000
_WAIT_SECONDS: Final = 0.5


async def identities(stream: Stream, first: int, last: int) -> AsyncGenerator[str | None]:
    """The identities of the messages in this range of sequences that are still there.

    None stands for a message without one.

    Raises:
        StreamUnavailable: NATS does not tell now.
        MayNot: our user lacks a right.
    """
    seen = first - 1
    while seen < last:
        before = seen
        try:
            async with reading(stream, seen + 1, headers_only=True) as reader:
                while seen < last:
                    for message in await reader.batch(_BATCH, _WAIT_SECONDS):
                        seen = message.sequence
                        if seen <= last:
                            yield message.headers.get("Nats-Msg-Id")
        except StreamGap as gap:
            if gap.lost is None:
                return  # The stream was made anew.
            seen = gap.lost.stop - 1
        except ReaderBroken as error:
            _raise_if_denied(stream, error)
            # Messages in between were deleted: a new reader begins with what is there.
            if seen == before:
                raise StreamUnavailable(str(error)) from error
        except StreamUnavailable as error:
            _raise_if_denied(stream, error)
            raise
        except (UpstreamUnavailable, nats.errors.Error, OSError) as error:
            _raise_if_denied(stream, error)
            raise StreamUnavailable(str(error) or type(error).__name__) from error


def _raise_if_denied(stream: Stream, error: Exception) -> None:
    if isinstance(stream.client, NatsClient) and stream.client.denied:
        raise MayNot(stream.client.denied) from error


async def last_and_stored(
    stream: Stream, created: str, acknowledged: int, in_flight: Sequence[str]
) -> tuple[int, int]:
    """The sequence that the stream ends with, and how many of the messages in flight it holds.

    `acknowledged` is the sequence of the last message that is known to be stored, `in_flight` the
    identities of those sent after it, in order; `created` tells the stream from another.

    Raises:
        Fenced: behind `acknowledged` the stream has messages that are not ours, or not in order.
        StreamChanged: it is another stream, or lost its end.
        StreamUnavailable: NATS does not tell now.
    """
    try:
        info: StreamInfo = await stream.info()
    except ApiError as error:
        if error.temporary:
            raise
        raise StreamChanged(f"the stream {stream.name} is gone ({error.description})") from error
    if info.created != created or info.last_sequence < acknowledged:
        raise StreamChanged("the stream was made anew or restored while it was published to")
    stored = info.last_sequence - acknowledged
    if stored:
        between = identities(stream, acknowledged + 1, info.last_sequence)
        found = [identity async for identity in between]
        ours = list(in_flight[:stored])
        if len(found) < stored and set(found) <= set(ours):
            raise StreamChanged("messages were deleted or aged out before they were confirmed")
        if found != ours:
            raise Fenced("another publisher wrote to the stream: its tail is not ours")
    return info.last_sequence, stored
