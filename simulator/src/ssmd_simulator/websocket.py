"""The WebSocket under /trade-api/ws/v2: subscriptions, sequence numbers, heartbeats. No replay."""

import asyncio
from itertools import count

import msgspec
import structlog
from aiohttp import WSMsgType, web

from ssmd_simulator import marketmessages as market
from ssmd_simulator.connection import Connection, Subscription, error
from ssmd_simulator.desk import Desk
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.faults import Faults
from ssmd_simulator.floor import Floor
from ssmd_simulator.messages import Message
from ssmd_simulator.sentlog import SentLog, Witness
from ssmd_simulator.settings import Settings
from ssmd_simulator.signatures import Keyring

PATH = "/trade-api/ws/v2"
FULL_BYTES = 256 * 1024
"""In the socket's own buffer; then frames wait in the outbox."""

log = structlog.get_logger(__name__)
_json = msgspec.json.Encoder()
_Listener = tuple[Connection, Subscription]


class Hub:
    """All connections; hands each message to those subscribed to its channel."""

    def __init__(
        self, exchange: Exchange, settings: Settings, keys: Keyring, faults: Faults
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._keys = keys
        self._faults = faults
        self._listeners: dict[str, list[_Listener]] | None = None
        self._numbers = count(1)
        self._desk: Desk | None = None
        self.connections: set[Connection] = set()
        self.recorded: dict[str, list[bytes]] = {}
        self.witnesses: list[Witness] = []
        """Told of every frame: the connection's number, what became of it, and the frame."""
        self._sent_log: SentLog | None = None
        if settings.sent_log is not None:
            self._sent_log = SentLog(settings.sent_log)
            self.witnesses.append(self._sent_log.note)
        exchange.listeners.append(self.publish)

    def opens(self, floor: Floor) -> None:
        """Take commands from now on."""
        self._desk = Desk(self._exchange, self._settings, self._faults, floor, self)

    # --- messages -----------------------------------------------------------------------------

    def changed(self) -> None:
        """Somebody subscribed, or does not any more."""
        self._listeners = None

    def _listening(self, channel: str) -> list[_Listener]:
        if self._listeners is None:
            self._listeners = {}
            for connection in self.connections:
                for to in connection.subscriptions.values():
                    self._listeners.setdefault(to.channel, []).append((connection, to))
        return self._listeners.get(channel, [])

    def hears(self, channel: str) -> bool:
        """Whether anybody listens to a channel."""
        return bool(self._listening(channel))

    def publish(self, message: Message) -> None:
        """Send a message of the lifecycle to its subscribers."""
        body = _json.encode(message.msg)
        for connection, to in list(self._listening(message.channel)):
            self.deliver(connection, to, message.type, body)

    def tell(self, channel: str, ticker: str, kind: str, body: bytes) -> bool:
        """Send a message about a market to those who want this market; whether anybody does."""
        heard = False
        for connection, to in list(self._listening(channel)):
            if to.markets is None or ticker in to.markets:
                self.deliver(connection, to, kind, body)
                heard = True
        return heard

    def tell_delta(self, ticker: str, delta: market.Delta) -> bool:
        """Send a change of a book, in each subscription's way of pricing; whether anybody wants
        it."""
        heard = False
        for connection, to in list(self._listening(market.BOOK)):
            if to.markets is not None and ticker in to.markets:
                body = delta.body(yes_price=to.yes_price)
                self.deliver(connection, to, market.BOOK, body)
                heard = True
        return heard

    def deliver(self, connection: Connection, to: Subscription, kind: str, body: bytes) -> None:
        """Send a message to one subscription, or what the faults make of it."""
        if len(connection.outbox) >= self._settings.frames_kept:
            self._end(connection, to, 25)
            return
        sent = int(self._exchange.clock() * 1000)
        to.seq += 1
        if to.numbered:
            frame = b'{"type":"%b","sid":%d,"seq":%d,"sending_ts_ms":%d,"msg":%b}' % (
                kind.encode(), to.sid, to.seq, sent, body)  # fmt: skip
        else:
            frame = b'{"type":"%b","sid":%d,"sending_ts_ms":%d,"msg":%b}' % (
                kind.encode(), to.sid, sent, body)  # fmt: skip
        if self._faults.active:
            self._deliver_badly(connection, to, frame)
        else:
            connection.put(frame)

    def _deliver_badly(self, connection: Connection, to: Subscription, frame: bytes) -> None:
        if self._faults.silent:
            connection.lose(frame)
            return
        kinds = self._faults.for_frame(to.channel)
        if "gap" in kinds:
            connection.lose(frame)
            return
        if "channel_error" in kinds or "overflow" in kinds:
            self._end(connection, to, 10 if "channel_error" in kinds else 25)
            return
        if "error_frame" in kinds:
            connection.put(error(None, kinds["error_frame"].code, sid=to.sid))
        if "garbage_frame" in kinds:
            connection.queue(b"{not json")
        held = connection.held
        if "reorder" in kinds and held is None:
            connection.held = frame
            connection.lose(frame, "late")
            return
        connection.put(frame)
        if held is not None:
            connection.queue(held)
            connection.held = None
        if "duplicate" in kinds:
            connection.put(frame, "doubled")

    def _end(self, connection: Connection, to: Subscription, code: int) -> None:
        """End a subscription with a terminal error; the client has to subscribe again."""
        connection.subscriptions.pop(to.sid, None)
        self.changed()
        connection.put(error(None, code, sid=to.sid))

    # --- connections --------------------------------------------------------------------------

    def disconnect(self, code: int = 1001) -> int:
        """Close every connection, as the exchange does for its maintenance; how many there were."""
        for connection in self.connections:
            connection.close(code)
        return len(self.connections)

    def half_open(self) -> int:
        """Leave every connection open and dead, as a lost route does; new ones are as good as
        ever. How many there were."""
        for connection in self.connections:
            connection.half_open = True
            connection.outbox.clear()
        return len(self.connections)

    def flush(self) -> None:
        """Let readers of the log see what was sent so far."""
        if self._sent_log is not None:
            self._sent_log.flush()

    def close(self) -> None:
        """The simulator ends."""
        if self._sent_log is not None:
            self._sent_log.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes."""
        if self._settings.ws_auth:
            why = self._keys.refusal(request.headers, "GET", request.path, self._exchange.clock())
            if why is not None:
                log.warning("websocket refused", reason=why)
                body = {"error": {"code": "unauthorized", "message": why}}
                return web.json_response(body, status=401)
        ws = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=2**20)
        await ws.prepare(request)
        connection = Connection(ws, next(self._numbers), self.witnesses)
        self.connections.add(connection)
        log.info("websocket connected", connections=len(self.connections))
        assert request.transport is not None
        sender = asyncio.create_task(self._send(connection, request.transport), name="ws-send")
        pinger = asyncio.create_task(self._ping(connection), name="ws-ping")
        try:
            async for incoming in ws:
                if connection.half_open:
                    continue
                if incoming.type == WSMsgType.PING and not self._faults.silent:
                    await ws.pong(incoming.data)
                elif incoming.type == WSMsgType.TEXT and self._desk is not None:
                    self._desk.command(connection, incoming.data)
                elif incoming.type == WSMsgType.BINARY:
                    connection.put(error(None, 1))
        finally:
            self.connections.discard(connection)
            self.changed()
            sender.cancel()
            pinger.cancel()
            await asyncio.gather(sender, pinger, return_exceptions=True)
            if self._sent_log is not None:
                self._sent_log.gone(connection.number, len(connection.outbox))
            log.info("websocket gone", connections=len(self.connections))
        return ws

    async def _send(self, connection: Connection, transport: asyncio.Transport) -> None:
        outbox = connection.outbox
        while True:
            await connection.wake.wait()
            connection.wake.clear()
            while outbox and not transport.is_closing():
                # aiohttp's own waiting is for frames that it writes itself.
                while transport.get_write_buffer_size() > FULL_BYTES:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
                # Frames of a burst leave together: a system call for each would take longer than
                # making them.
                transport.write(b"".join([_text_frame(outbox.popleft()) for _ in range(
                    min(len(outbox), 256))]))  # fmt: skip
            if connection.closing is not None:
                await connection.ws.close(code=connection.closing)
                return

    async def _ping(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_seconds)
            if self._faults.silent or connection.half_open:
                continue
            try:
                await connection.ws.ping(b"heartbeat")
            except ConnectionError:
                return


def _text_frame(payload: bytes) -> bytes:
    """A whole text message as a server writes it: one frame, not masked, not compressed."""
    size = len(payload)
    if size < 126:
        return b"\x81%c" % size + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
