"""A message as a consumer delivers it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from nats.aio.msg import Msg

_NONE: Final[Mapping[str, str]] = {}


class Delivery(NamedTuple):
    """One message; `pending` is how many that the reader wants the stream holds after it."""

    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int
    """Nanoseconds since 1970, by the server's clock."""
    pending: int
    reply: str
    headers: Mapping[str, str] = _NONE

    @property
    def stored_at(self) -> float:
        """The same in seconds, as near as a float comes."""
        return self.stored_at_ns / 1e9


def is_delivery(message: Msg) -> bool:
    """Whether it is a message of the stream, and no status of the consumer."""
    return bool(message.reply.startswith("$JS.ACK."))


def delivered(message: Msg) -> tuple[Delivery, int]:
    """What `message` delivers, and its number among the messages of its consumer, from 1."""
    tokens = message.reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.
    # <pending>, with domain and account before the stream on newer servers.
    at = 5 if len(tokens) < 11 else 7
    delivery = Delivery(
        int(tokens[at]),
        message.subject,
        message.data,
        int(tokens[at + 2]),
        int(tokens[at + 3]),
        message.reply,
        message.headers or _NONE,
    )
    return delivery, int(tokens[at + 1])
