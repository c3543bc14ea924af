"""The WebSocket under /trade-api/ws/v2: subscriptions, sequence numbers, heartbeats. No replay."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from aiohttp import WSMsgType, web

from ssmd_simulator.codes import CODES
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.faults import Faults
from ssmd_simulator.messages import CHANNELS, Message
from ssmd_simulator.settings import Settings
from ssmd_simulator.signatures import Keyring

PATH = "/trade-api/ws/v2"
BUFFER = 20_000
"""Frames a subscriber may lag behind before its subscription ends with error 25."""

OTHER_CHANNELS = frozenset(
    {
        "orderbook_delta",
        "ticker",
        "trade",
        "fill",
        "market_positions",
        "communications",
        "order_group_updates",
        "user_orders",
        "cfbenchmarks_value",
        "pyth_value",
    }
)
"""Channels of the exchange that may be subscribed to here but never say anything."""

log = structlog.get_logger(__name__)
_json = msgspec.json.Encoder()


@dataclass(slots=True)
class Subscription:
    """A subscription of one connection; `seq` counts its frames without a gap."""

    channel: str
    sid: int
    seq: int = 0


@dataclass(slots=True, eq=False)
class Connection:
    """One client: its subscriptions and the frames that wait to be sent."""

    ws: web.WebSocketResponse
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    outbox: deque[bytes] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sids: int = 0
    closing: int | None = None
    held: bytes | None = None

    def put(self, frame: bytes) -> None:
        """Queue a frame."""
        self.outbox.append(frame)
        self.wake.set()

    def close(self, code: int) -> None:
        """Close once what is queued has gone out."""
        self.closing = code
        self.wake.set()


class Hub:
    """All connections; hands each message to those subscribed to its channel."""

    def __init__(
        self, exchange: Exchange, settings: Settings, keys: Keyring, faults: Faults
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._keys = keys
        self.connections: set[Connection] = set()
        self._faults = faults
        self.recorded: dict[str, list[bytes]] = {}
        exchange.listeners.append(self.publish)

    def publish(self, message: Message) -> None:
        """Send a message to its subscribers."""
        for connection in list(self.connections):
            for subscription in list(connection.subscriptions.values()):
                if subscription.channel == message.channel:
                    self._deliver(connection, subscription, message)

    def _deliver(self, connection: Connection, to: Subscription, message: Message) -> None:
        if len(connection.outbox) >= BUFFER:
            self._end(connection, to, 25)
            return
        to.seq += 1
        frame = {
            "type": message.type,
            "sid": to.sid,
            "seq": to.seq,
            "sending_ts_ms": int(self._exchange.clock() * 1000),
            "msg": message.msg,
        }
        encoded = _json.encode(frame)
        if self._faults.active:
            self._deliver_badly(connection, to, encoded)
        else:
            connection.put(encoded)

    def _deliver_badly(self, connection: Connection, to: Subscription, frame: bytes) -> None:
        if self._faults.silent:
            return
        kinds = self._faults.for_frame()
        if "gap" in kinds:
            return
        if "channel_error" in kinds or "overflow" in kinds:
            self._end(connection, to, 10 if "channel_error" in kinds else 25)
            return
        if "error_frame" in kinds:
            connection.put(_error(None, kinds["error_frame"].code, sid=to.sid))
        if "garbage_frame" in kinds:
            connection.put(b"{not json")
        held = connection.held
        if "reorder" in kinds and held is None:
            connection.held = frame
            return
        connection.put(frame)
        if held is not None:
            connection.put(held)
            connection.held = None
        if "duplicate" in kinds:
            connection.put(frame)

    def _end(self, connection: Connection, to: Subscription, code: int) -> None:
        """End a subscription with a terminal error; the client has to subscribe again."""
        del connection.subscriptions[to.sid]
        connection.put(_error(None, code, sid=to.sid))

    def disconnect(self, code: int = 1001) -> int:
        """Close every connection, as the exchange does for its maintenance; how many there were."""
        for connection in self.connections:
            connection.close(code)
        return len(self.connections)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes."""
        if self._settings.ws_auth:
            why = self._keys.refusal(request.headers, "GET", request.path, self._exchange.clock())
            if why is not None:
                log.warning("websocket refused", reason=why)
                body = {"error": {"code": "unauthorized", "message": why}}
                return web.json_response(body, status=401)
        ws = web.WebSocketResponse(compress=False, autoping=True, max_msg_size=2**20)
        await ws.prepare(request)
        connection = Connection(ws)
        self.connections.add(connection)
        log.info("websocket connected", connections=len(self.connections))
        sender = asyncio.create_task(self._send(connection), name="ws-send")
        pinger = asyncio.create_task(self._ping(connection), name="ws-ping")
        try:
            async for incoming in ws:
                if incoming.type == WSMsgType.TEXT:
                    self._command(connection, incoming.data)
                elif incoming.type == WSMsgType.BINARY:
                    connection.put(_error(None, 1))
        finally:
            self.connections.discard(connection)
            sender.cancel()
            pinger.cancel()
            await asyncio.gather(sender, pinger, return_exceptions=True)
            log.info("websocket gone", connections=len(self.connections))
        return ws

    async def _send(self, connection: Connection) -> None:
        while True:
            await connection.wake.wait()
            connection.wake.clear()
            try:
                while connection.outbox:
                    await connection.ws.send_str(connection.outbox.popleft().decode())
            except ConnectionError:
                return
            if connection.closing is not None:
                await connection.ws.close(code=connection.closing)
                return

    async def _ping(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_seconds)
            if self._faults.silent:
                continue
            try:
                await connection.ws.ping(b"heartbeat")
            except ConnectionError:
                return

    def _command(self, connection: Connection, text: str) -> None:
        try:
            command = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            connection.put(_error(None, 1))
            return
        number = command.get("id")
        given: Any = command.get("params")
        params: dict[str, Any] = given if isinstance(given, dict) else {}
        refused = self._faults.for_command()
        if refused is not None:
            connection.put(_error(number, refused))
            return
        match command.get("cmd"):
            case "list_subscriptions":
                held = [
                    {"channel": s.channel, "sid": s.sid} for s in connection.subscriptions.values()
                ]
                connection.put(_json.encode(_with_id(number, {"type": "ok", "msg": held})))
            case "subscribe" | "unsubscribe" | "update_subscription" if "params" not in command:
                connection.put(_error(number, 2))
            case "subscribe":
                self._subscribe(connection, number, params)
            case "unsubscribe":
                self._unsubscribe(connection, number, params)
            case "update_subscription":
                self._update(connection, number, params)
            case _:
                connection.put(_error(number, 5))

    def _subscribe(self, connection: Connection, number: object, params: dict[str, Any]) -> None:
        channels = params.get("channels")
        if not isinstance(channels, list) or not channels:
            connection.put(_error(number, 3))
            return
        for channel in channels:
            if channel not in CHANNELS and channel not in OTHER_CHANNELS:
                connection.put(_error(number, 8))
            elif any(s.channel == channel for s in connection.subscriptions.values()):
                connection.put(_error(number, 6))
            else:
                connection.sids += 1
                sid = connection.sids
                connection.subscriptions[sid] = Subscription(channel, sid)
                msg = {"channel": channel, "sid": sid}
                connection.put(_json.encode(_with_id(number, {"type": "subscribed", "msg": msg})))
                for line in self.recorded.get(channel, ()):
                    connection.put(line)

    def _unsubscribe(self, connection: Connection, number: object, params: dict[str, Any]) -> None:
        sids = params.get("sids")
        if not isinstance(sids, list) or not sids:
            connection.put(_error(number, 4))
            return
        for sid in sids:
            gone = connection.subscriptions.pop(sid, None) if isinstance(sid, int) else None
            if gone is None:
                connection.put(_error(number, 7))
                continue
            answer = {"sid": sid, "seq": gone.seq + 1, "type": "unsubscribed"}
            connection.put(_json.encode(_with_id(number, answer)))

    def _update(self, connection: Connection, number: object, params: dict[str, Any]) -> None:
        sids = params.get("sids") or ([params["sid"]] if "sid" in params else [])
        if not isinstance(sids, list) or len(sids) != 1:
            connection.put(_error(number, 12))
        elif sids[0] not in connection.subscriptions:
            connection.put(_error(number, 7))
        elif "action" not in params:
            connection.put(_error(number, 15))
        else:
            # The lifecycle channels carry everything; there is nothing to add or to remove.
            connection.put(_error(number, 13))


def _with_id(number: object, frame: dict[str, Any]) -> dict[str, Any]:
    # An id of 0 counts as none.
    return {"id": number, **frame} if isinstance(number, int) and number else frame


def _error(number: object, code: int, *, sid: int | None = None) -> bytes:
    frame: dict[str, Any] = {"type": "error", "msg": {"code": code, "msg": CODES[code]}}
    if sid is not None:
        frame["sid"] = sid
    return _json.encode(_with_id(number, frame))
