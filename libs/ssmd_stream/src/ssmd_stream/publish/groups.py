"""How messages go on the wire: one by one, or as atomic batches where answers are dear.

Each message names the sequence that the stream must end with before it; of an atomic batch, which
is stored whole or not at all, the first does.
"""

import asyncio
import secrets
from typing import Final, Generic

from ssmd_stream.publish.window import M, Window
from ssmd_stream.publish.wire import Wire

_BATCH_MESSAGES: Final = 1000
"""The server's limit of an atomic batch."""

# A batch costs the server 10 to 20 ms however few messages it has (`benchmarks/cdc.py`): worth it
# where it stands for as many writes to disk.
_LEAST_BATCH: Final = 12


class Groups(Generic[M]):
    """The messages that one connection carries; what comes in one turn of the loop goes together.

    `batches`: the number of the last message of each batch that is under way, and how many it has.
    `durable`: each answer means a write to disk. Then messages gather while an answer is awaited,
    and many of them go as one atomic batch, which is written to disk once.
    """

    def __init__(self, wire: Wire, window: Window[M], *, durable: bool) -> None:
        self._wire = wire
        self._window = window
        self._durable = durable
        self._gathered: list[M] = []
        self._next = 0
        self.batches: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()

    def add(self, message: M, number: int) -> None:
        """Publish the message with this number of the window; each is the one after the last."""
        gathered = self._gathered
        if not gathered:
            self._loop.call_soon(self.write)
        gathered.append(message)
        self._next = number + 1
        if len(gathered) >= _BATCH_MESSAGES:
            self._write()

    def write(self) -> None:
        """Send what has gathered, unless it is better kept until the answer under way is there."""
        sent = len(self._window.entries) - len(self._gathered)
        if self._gathered and not (self._durable and sent > 0):
            self._write()

    def flush(self) -> None:
        """Send what has gathered, now."""
        if self._gathered:
            self._write()

    def _write(self) -> None:
        messages, self._gathered = self._gathered, []
        count = len(messages)
        first = self._next - count
        expected = self._window.acknowledged_sequence + first - self._window.first
        batch = secrets.token_hex(8) if self._durable and count >= _LEAST_BATCH else None
        publish, last = self._wire.publish, count - 1
        if batch is not None:
            self.batches[self._next - 1] = count
        for at, message in enumerate(messages):
            if batch is None:
                chain = f"Nats-Expected-Last-Sequence: {expected + at}\r\n"
            else:
                chain = f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {at + 1}\r\n"
                if at == 0:
                    chain += f"Nats-Expected-Last-Sequence: {expected}\r\n"
                if at == last:
                    chain += "Nats-Batch-Commit: 1\r\n"
            publish(
                message.subject,
                first + at if batch is None or at == last else None,
                f"NATS/1.0\r\nNats-Msg-Id: {message.id}\r\n"
                f"{chain}Ssmd-Type: {message.type}\r\n\r\n",
                message.payload,
            )
        self._wire.flush()
