"""A connection to NATS for publishing only: frames out, replies in, no coroutine per message.

It never reconnects and never resends: what a lost connection leaves undecided is decided by
reading the stream's tail (`publisher`).
"""

import asyncio
import json
import re
import secrets
from typing import Any, Final, cast

from nats.aio.client import Client

from ssmd_common.connections.nats import nodes
from ssmd_common.connections.nats_access import NatsAccess, NatsServer
from ssmd_common.connections.nats_rights import Sentences
from ssmd_common.deadlines import answered_within
from ssmd_common.rights import NatsRights

_CONNECT_SECONDS: Final = 5.0
PING_SECONDS: Final = 3.0
_FLUSH_BYTES: Final = 1 << 16
_WRITE_BUFFER_BYTES: Final = 1 << 20

# Status replies (503, no responders) come with headers.
_MSG = re.compile(rb"MSG [^ ]*\.(\d+) \d+ (\d+)\r\n")
_HMSG = re.compile(rb"HMSG [^ ]*\.(\d+) \d+ (\d+) (\d+)\r\n")


class WireLost(Exception):
    """The connection could not be made or broke; the text is the server's or the system's.

    `denied`: that is which right the user lacks.
    """

    def __init__(self, text: str, *, denied: bool = False) -> None:
        super().__init__(text)
        self.denied = denied


class Wire(asyncio.Protocol):
    """One connection.

    `rights` are what our user is known to need, for the sentence where one is missing.
    `max_payload` is what the server is thought to take until it says so.
    """

    def __init__(self, access: NatsAccess, rights: NatsRights | None, max_payload: int) -> None:
        self.max_payload = max_payload
        self.writable = asyncio.Event()
        """Set while more may be written; for good once the connection is lost."""
        self._access = access
        self._sentences = Sentences(access.who, access.inbox_prefix, rights)
        self._inbox = f"{access.inbox_prefix}.{secrets.token_hex(11)}"
        self._loop = asyncio.get_running_loop()
        self._replies: list[tuple[int, bytes]] = []
        self._news = asyncio.Event()
        self._buffer = b""
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._greeted: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._ponged = asyncio.Event()
        self._reason: str | None = None
        self._denied = False
        self._pinger: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        return self._reason is not None

    async def open(self, server: NatsServer, name: str) -> None:
        """Connect to this node, and subscribe to the inbox for replies.

        Raises:
            WireLost: it does not answer, or it refuses us.
        """
        loop = self._loop
        try:
            async with answered_within(_CONNECT_SECONDS):
                transport, _ = await loop.create_connection(lambda: self, server.host, server.port)
                info = await self._greeted
                if server.tls or info.get("tls_required"):
                    upgraded = await loop.start_tls(
                        transport, self, self._access.tls(), server_hostname=server.tls_name
                    )
                    assert upgraded is not None
                    self._transport = upgraded
                self._send(_connect_frame(name, self._access.connect_fields(info.get("nonce"))))
                self._send(f"SUB {self._inbox}.* 1\r\nPING\r\n".encode())
                await self._ponged.wait()
                self.raise_if_lost()
        except (OSError, TimeoutError) as error:
            self.close()
            raise WireLost(str(error) or "no answer") from error
        except BaseException:
            self.close()
            raise
        self._pinger = asyncio.create_task(self._keep_alive(), name="wire-ping")

    async def replies(self, seconds: float) -> list[tuple[int, bytes]]:
        """What came and was not taken yet, in order: the number that `publish` gave to the message,
        and the answer to it. Waits for it up to `seconds`; none came where the list is empty.

        Raises:
            WireLost: the connection ended, and all that came before was taken.
        """
        if not self._replies and self._reason is None:
            self._news.clear()
            timer = self._loop.call_later(seconds, self._news.set)
            try:
                await self._news.wait()
            finally:
                timer.cancel()
        if not self._replies:
            self.raise_if_lost()
        taken, self._replies = self._replies, []
        return taken

    def raise_if_lost(self) -> None:
        """Raises WireLost if the connection ended."""
        if self._reason is not None:
            raise WireLost(self._reason, denied=self._denied)

    def publish(self, subject: str, token: int | None, headers: str, payload: bytes) -> None:
        """Send one message with the next `flush`; its reply comes with `token`.

        Without a token, no reply is asked for. `headers` are ASCII. Messages are written together:
        a system call for each would cost more than all else about it.
        """
        size = len(headers)
        inbox = "" if token is None else f"{self._inbox}.{token} "
        length = len(payload)
        head = f"HPUB {subject} {inbox}{size} {size + length}\r\n{headers}"
        self._frames += (head.encode(), payload, b"\r\n")
        self._frames_bytes += length
        if self._frames_bytes >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was published. Nothing happens once the connection is lost."""
        if self._frames:
            frames = b"".join(self._frames)
            self._frames.clear()
            self._frames_bytes = 0
            self._send(frames)

    def close(self) -> None:
        if self._pinger is not None:
            self._pinger.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "the server closed the connection")

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        replies = self._replies
        match = _MSG.match
        while at < len(buffer):
            message = match(buffer, at)
            if message is not None:
                start = message.end()
                end = start + int(message[2])
                if end + 2 > len(buffer):
                    break
                at = end + 2
                replies.append((int(message[1]), buffer[start:end]))
                continue
            line_end = buffer.find(b"\r\n", at)
            if line_end < 0:
                break
            after = self._control(buffer, at, line_end, replies)
            if after is None:
                break
            at = after
        self._buffer = buffer[at:]
        if replies:
            self._news.set()

    def _control(
        self, buffer: bytes, at: int, line_end: int, replies: list[tuple[int, bytes]]
    ) -> int | None:
        """Handle what is not a plain reply; where it ends, or None if it is not all there."""
        line = buffer[at:line_end]
        if line.startswith(b"HMSG "):
            message = _HMSG.match(buffer, at)
            if message is None:
                self._end("the server sent a message that cannot be read")
                return line_end + 2
            end = message.end() + int(message[3])
            if end + 2 > len(buffer):
                return None
            replies.append((int(message[1]), buffer[message.end() + int(message[2]) : end]))
            return end + 2
        if line == b"PING":
            self._send(b"PONG\r\n")
        elif line == b"PONG":
            self._ponged.set()
        elif line.startswith(b"INFO "):
            info = json.loads(line[5:])
            self.max_payload = int(info.get("max_payload", self.max_payload))
            if not self._greeted.done():
                self._greeted.set_result(info)
        elif line.startswith(b"-ERR"):
            text = line[4:].decode(errors="replace").strip(" '")
            denied = self._sentences.of(text)
            self._denied = denied is not None
            self._end(denied or text)
        return line_end + 2

    async def _keep_alive(self) -> None:
        while True:
            self._ponged.clear()
            self._send(b"PING\r\n")
            try:
                async with answered_within(PING_SECONDS):
                    await self._ponged.wait()
            except TimeoutError:
                self._end("the server does not answer")
                return
            await asyncio.sleep(PING_SECONDS)

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and self._reason is None:
            self._transport.write(frame)

    def _end(self, reason: str) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        if not self._greeted.done():
            self._greeted.set_exception(WireLost(reason, denied=self._denied))
        self._ponged.set()
        self.writable.set()
        self._news.set()
        self.close()


async def open_wire(
    client: Client, access: NatsAccess, rights: NatsRights | None, name: str, max_payload: int
) -> Wire:
    """A wire to the node that the client is connected to, else to another that it knows: where one
    is drained or gone, the others go on.

    Raises:
        WireLost: none of them takes us.
    """
    lost = WireLost("no node of NATS is known")
    for server in nodes(client, access):
        wire = Wire(access, rights, max_payload)
        try:
            await wire.open(server, name)
            wire.raise_if_lost()
        except WireLost as error:
            lost = error
        else:
            return wire
    raise lost


def _connect_frame(name: str, identity: dict[str, str]) -> bytes:
    options: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "lang": "python3",
        "version": "ssmd",
        "protocol": 1,
        "headers": True,
        "no_responders": True,
        "name": name,
        **identity,
    }
    return b"CONNECT " + json.dumps(options).encode() + b"\r\n"
