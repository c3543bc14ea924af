"""The consumer of a reader: made anew each time, to begin where the reader's own record says."""

from collections.abc import Sequence
from typing import Final

from nats.js import api

from ssmd_stream.errors import ReaderBroken
from ssmd_stream.stream import Stream

_ACK_WAIT_SECONDS: Final = 30.0
_DURABLE_LIVES_SECONDS: Final = 24 * 3600.0
_EPHEMERAL_LIVES_SECONDS: Final = 30.0


async def make_consumer(
    stream: Stream,
    start: int,
    subjects: Sequence[str],
    durable: str | None,
    headers_only: bool,
) -> tuple[str, int]:
    """Make it, in place of one of its name; its name, and how many messages it has to deliver.

    Raises:
        ReaderBroken: it is not the one that was asked for.
        StreamUnavailable, UpstreamUnavailable: it cannot be made now.
    """
    wanted = api.ConsumerConfig(
        durable_name=durable,
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        ack_policy=api.AckPolicy.ALL if durable else api.AckPolicy.NONE,
        replay_policy=api.ReplayPolicy.INSTANT,
        filter_subjects=list(subjects) or None,
        headers_only=headers_only or None,
    )
    if durable:
        wanted.description = f"ssmd: what {durable} reads and has dealt with"
        wanted.ack_wait = _ACK_WAIT_SECONDS
        wanted.max_ack_pending = 20_000
        wanted.inactive_threshold = _DURABLE_LIVES_SECONDS
    else:
        wanted.mem_storage = True
        wanted.inactive_threshold = _EPHEMERAL_LIVES_SECONDS
    info = await stream.make_consumer(wanted)
    # Some servers ignore what they do not know: what counts is what they say they do.
    for field in ("deliver_policy", "opt_start_seq", "ack_policy", "filter_subjects"):
        made = getattr(info.config, field)
        if made != getattr(wanted, field):
            raise ReaderBroken(f"NATS made the consumer {info.name} with {field} {made!r}")
    return info.name, info.num_pending or 0
