"""What a publisher is given, and what it tells."""

from typing import Generic, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from ssmd_stream.publish.window import M


class PublisherOptions(NamedTuple):
    """How much is in flight at most, and what is waited for how long.

    `durable`: each answer of the server means a write to its disk, so that messages go in atomic
    batches (NATS 2.12 or newer). `condition` is the publisher's name in the service's health.
    """

    window_messages: int
    window_bytes: int
    ack_seconds: float
    """A message that is not acknowledged by then counts as lost, and is sent again."""
    outage_budget_seconds: float
    """How long NATS may be away before it ends."""
    durable: bool = False
    condition: str = "nats"


class PublisherMetrics(NamedTuple):
    """Where it counts. `messages` has the labels that `Outgoing.labels` gives the values of."""

    messages: Counter
    in_flight: Gauge
    in_flight_bytes: Gauge
    publish_seconds: Histogram
    not_storing: Gauge


class Acknowledged(NamedTuple, Generic[M]):
    """How far a publisher is: `messages` of them are in the stream, with all before them.

    `last` is the last of these, None before there is one; `sequence` is the stream's at that place.
    """

    messages: int
    sequence: int
    last: M | None
