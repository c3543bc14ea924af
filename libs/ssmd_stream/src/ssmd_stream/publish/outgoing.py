"""A message on its way to a stream."""

import msgspec


class Outgoing(msgspec.Struct, gc=False):
    """What every publisher knows of its messages; each has a kind of its own with more fields.

    `id` tells it from all other messages of the stream (`Nats-Msg-Id`), so that what is in flight
    is known again in the stream. `type` says what it is to who does not read the payload
    (`Ssmd-Type`). Neither may hold a line break.
    """

    id: str
    subject: str
    type: str
    payload: bytes

    @property
    def labels(self) -> tuple[str, ...]:
        """By which it is counted: the values of the labels of `PublisherMetrics.messages`."""
        return (self.type,)
