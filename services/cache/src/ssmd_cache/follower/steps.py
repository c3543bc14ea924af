"""From a batch of messages to steps, each of which is written to Redis as a whole."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ssmd_cache.errors import WarmUpDue
from ssmd_cache.follower.messages import (
    Announcement,
    Effect,
    EndOfEpoch,
    Refetch,
    Rewarm,
    effect,
)
from ssmd_cache.projection.commands import Command
from ssmd_cache.unreadable import Unreadable
from ssmd_common.keys import Keys
from ssmd_stream.change import KEY_COLUMN, Head, Position, decode_head, salvage
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.visibility import Snapshot

_OTHER_SUBJECTS: Final = ("cdc.fees.", "cdc.market_lifecycle_events.")
"""Of tables that have no keys."""


@dataclass(slots=True)
class Step:
    """What consecutive messages do, the first of them with the sequence `first`."""

    first: int
    reached: Position
    snapshot: Snapshot | None
    """What the cache was warmed from; None once every change counts."""
    drop_before: int | None = None
    """An epoch that is announced: rows of older ones go before this step."""
    last: Delivery | None = None
    pending: list[Command | Refetch] = field(default_factory=list)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many messages, by table and op."""


def steps(
    batch: Sequence[Delivery],
    reached: Position,
    snapshot: Snapshot | None,
    keys: Keys,
    unreadable: Unreadable,
) -> Iterator[Step]:
    """The steps of a batch; `reached` and `snapshot` are as they were before it.

    Raises:
        WarmUpDue: a message asks for more than single rows.
    """
    step = Step(batch[0].sequence, reached, snapshot)
    for delivery in batch:
        message: Head | None
        try:
            message = decode_head(delivery.payload)
            position = message.position
            does = effect(message, position, step.reached.epoch, step.snapshot, keys)
        except UnreadableMessage as error:
            message, does = _pass_over(delivery, error, step, keys, unreadable)
            position = step.reached if message is None else message.position
        match does:
            case Command():
                step.pending.append(does)
            case Refetch():
                step.pending.append(does._replace(sequence=delivery.sequence))
            case Announcement():
                # It replaces what the snapshot showed.
                step.snapshot = None
            case Rewarm(reason):
                raise WarmUpDue(reason)
            case EndOfEpoch(epoch):
                # What came before must be there before what is older goes.
                if step.last is not None:
                    yield step
                step = Step(delivery.sequence, step.reached, step.snapshot, drop_before=epoch)
            case None:
                pass
        if message is not None:
            step.seen[message.table, message.op] += 1
        step.reached, step.last = max(step.reached, position), delivery
    yield step


def _pass_over(
    delivery: Delivery, error: UnreadableMessage, step: Step, keys: Keys, unreadable: Unreadable
) -> tuple[Head | None, Effect]:
    """An unreadable message counts as a marker: its row is read from PostgreSQL."""
    if delivery.subject.startswith(_OTHER_SUBJECTS):
        unreadable.other(error.reason)
        return None, None
    message = salvage(delivery.payload, delivery.subject, step.reached)
    does: Effect = None
    row = None
    if message is not None:
        does = effect(message, message.position, step.reached.epoch, step.snapshot, keys)
        if message.key is not None:
            row = (message.table, str(message.key.get(KEY_COLUMN[message.table])))
    sequence, reason = delivery.sequence, error.reason
    is_news = unreadable.message(sequence, delivery.subject, reason, row, str(error))
    if isinstance(does, Rewarm) and not is_news:
        # The cache was warmed for it, and then joined the stream before it again.
        does = None
    return message, does
