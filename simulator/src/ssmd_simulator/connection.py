"""One WebSocket client of the simulator: its subscriptions, and the frames that wait for it."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from ssmd_simulator.codes import CODES
from ssmd_simulator.sentlog import Fate, Witness

_json = msgspec.json.Encoder()


@dataclass(slots=True)
class Subscription:
    """A subscription of one connection; `seq` counts its frames without a gap.

    `markets` is None for a channel that carries all of them.
    """

    channel: str
    sid: int
    seq: int = 0
    markets: dict[str, None] | None = None
    yes_price: bool = False
    numbered: bool = True
    short_acks: bool = False
    commands: deque[float] = field(default_factory=deque)

    def too_fast(self, rate: int, now: float) -> bool:
        """Whether this command is one too many within a second; it counts if it is not."""
        if not rate:
            return False
        while self.commands and self.commands[0] <= now - 1:
            self.commands.popleft()
        if len(self.commands) >= rate:
            return True
        self.commands.append(now)
        return False


@dataclass(slots=True, eq=False)
class Connection:
    """One client: its subscriptions and the frames that wait to be sent."""

    ws: web.WebSocketResponse
    number: int = 0
    witnesses: list[Witness] = field(default_factory=list)
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    outbox: deque[bytes] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sids: int = 0
    closing: int | None = None
    held: bytes | None = None
    half_open: bool = False
    """It neither sends nor hears any more, and does not close."""

    def put(self, frame: bytes, fate: Fate = "sent") -> None:
        """Queue a frame."""
        for witness in self.witnesses:
            witness(self.number, fate, frame)
        self.queue(frame)

    def queue(self, frame: bytes) -> None:
        """Queue a frame that nobody is told of."""
        if self.half_open:
            return
        self.outbox.append(frame)
        self.wake.set()

    def lose(self, frame: bytes, fate: Fate = "lost") -> None:
        """Do not queue it, but say so."""
        for witness in self.witnesses:
            witness(self.number, fate, frame)

    def close(self, code: int) -> None:
        """Close once what is queued has gone out."""
        self.closing = code
        self.wake.set()


def with_id(number: object, frame: dict[str, Any]) -> dict[str, Any]:
    """An answer with the number of its command."""
    # An id of 0 counts as none.
    return {"id": number, **frame} if isinstance(number, int) and number else frame


def error(number: object, code: int, ticker: str = "", *, sid: int | None = None) -> bytes:
    """An error; `ticker` is the market that is its reason."""
    msg: dict[str, Any] = {"code": code, "msg": CODES[code]}
    if ticker:
        msg["market_ticker"] = ticker
    frame: dict[str, Any] = {"type": "error", "msg": msg}
    if sid is not None:
        frame["sid"] = sid
    return _json.encode(with_id(number, frame))
