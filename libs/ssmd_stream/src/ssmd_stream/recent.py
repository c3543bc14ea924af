"""The last messages of some subjects: JetStream reads forwards only, but counts what is to come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final

import nats.errors
from nats.js import api

from ssmd_stream.delivery import Delivery, delivered, is_delivery
from ssmd_stream.errors import StreamUnavailable
from ssmd_stream.stream import Stream

_LIVES_SECONDS: Final = 1.0
"""A consumer is made only to count or to be read once."""
_TOO_MANY: Final = 8
"""Times what was asked for: so many more are read rather than counted once more."""
_LOOKS: Final = 20
_ANSWER_SECONDS: Final = 5.0
_PULL: Final = 5000


async def recent(
    stream: Stream, subjects: Sequence[str], most: int, *, before: int | None = None
) -> tuple[list[Delivery], bool]:
    """The last `most` messages of these subjects before a sequence, the oldest first, and whether
    there are earlier ones.

    Raises:
        StreamMissing, StreamUnavailable, UpstreamUnavailable: as `Stream.info`, and where messages
            do not come.
    """
    info = await stream.info()
    end = info.last_sequence + 1 if before is None else min(before, info.last_sequence + 1)
    if end <= info.first_sequence or most < 1:
        return [], False
    _, beyond = await _consumer(stream, subjects, end)

    async def count_from(sequence: int) -> int:
        _, pending = await _consumer(stream, subjects, sequence)
        return max(pending - beyond, 0)

    first = low = info.first_sequence
    high, total = end, await count_from(first)
    guess = end - max(1, (end - first) * 2 * most // max(total, 1))
    count = total
    for _ in range(_LOOKS):
        if count <= _TOO_MANY * most or high - low <= 1:
            break
        guess = guess if low < guess < high else (low + high) // 2
        there = await count_from(guess)
        if there >= most:
            low, count = guess, there
        else:
            high = guess
        guess = (low + high) // 2
    found = await _read(stream, subjects, low, end, count)
    return found[-most:], total > most


async def all_from(
    stream: Stream, subjects: Sequence[str], start: int, *, most: int
) -> list[Delivery]:
    """What the stream holds now of these subjects from a sequence on, `most` at most; errors as
    `recent`."""
    info = await stream.info()
    if info.last_sequence < start:
        return []
    return await _read(stream, subjects, start, info.last_sequence + 1, most)


async def _consumer(stream: Stream, subjects: Sequence[str], start: int) -> tuple[str, int]:
    info = await stream.make_consumer(
        api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=max(1, start),
            ack_policy=api.AckPolicy.NONE,
            filter_subjects=list(subjects),
            mem_storage=True,
            inactive_threshold=_LIVES_SECONDS,
        )
    )
    return info.name, info.num_pending or 0


async def _read(
    stream: Stream, subjects: Sequence[str], start: int, end: int, most: int
) -> list[Delivery]:
    """Up to `most`, in order, before sequence `end`."""
    consumer, pending = await _consumer(stream, subjects, start)
    wanted = min(most, pending)
    found: list[Delivery] = []
    inbox = stream.client.new_inbox()
    subscription = await stream.client.subscribe(inbox)
    try:
        while len(found) < wanted:
            request = {"batch": min(_PULL, wanted - len(found)), "no_wait": True}
            await stream.client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{consumer}",
                json.dumps(request).encode(),
                reply=inbox,
            )
            for _ in range(request["batch"]):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    message = await subscription.next_msg(timeout=None)
                if not is_delivery(message):
                    # Nothing more is there: what was counted has left the stream.
                    return found
                delivery, _ = delivered(message)
                if delivery.sequence >= end:
                    return found
                found.append(delivery)
    except (TimeoutError, nats.errors.Error, OSError) as error:
        raise StreamUnavailable(
            f"messages of the stream {stream.name} do not come: check that NATS is well"
        ) from error
    finally:
        await subscription.unsubscribe()
    return found
