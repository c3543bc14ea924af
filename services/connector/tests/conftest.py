"""A simulated exchange, MARKET_DATA, and what it should hold."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import nats
import pytest
from least_rights import as_user
from psycopg import AsyncConnection

from ssmd_simulator.server import Simulator
from ssmd_simulator.universe import Market as Listed
from ssmd_stack.nats import NatsServer
from ssmd_stack.nats_cluster import NatsCluster
from ssmd_stream.administration import ensure
from ssmd_stream.errors import StreamUnavailable
from ssmd_stream.market import streams
from ssmd_stream.market.messages import Message, SessionRecord, TradeMessage, decoded
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream


async def insert_parents(connection: AsyncConnection[Any], market: Listed) -> None:
    """A market's series and event, where they are not there yet."""
    event, series = market.event.ticker, market.event.series.ticker
    await connection.execute(
        "INSERT INTO series (ticker, category) VALUES (%s, 'Crypto') ON CONFLICT DO NOTHING",
        (series,),
    )
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker, status) VALUES (%s, %s, 'open')"
        " ON CONFLICT DO NOTHING",
        (event, series),
    )


class Market:
    """The exchange and the stream; a connector comes between them."""

    def __init__(
        self,
        sim: Simulator,
        server: NatsServer | NatsCluster,
        stream: Stream,
        user: str | None = None,
    ) -> None:
        """With `user` everybody at NATS is one of `least_rights`, and the tests are this one."""
        self.sim = sim
        self.server = server
        self.user = user
        self.stream = stream
        self.sent: list[dict[str, Any]] = []
        self.by_connection: dict[int, list[dict[str, Any]]] = defaultdict(list)
        sim.hub.witnesses.append(self._note)

    def _note(self, connection: int, fate: str, frame: bytes) -> None:
        if fate == "sent":
            self.sent.append(json.loads(frame))
            self.by_connection[connection].append(self.sent[-1])

    def url_of(self, service: str) -> str:
        """NATS for a service."""
        return self.server.url if self.user is None else as_user(self.server.url, service)

    @property
    def url(self) -> str:
        """NATS for the tests."""
        return self.server.url if self.user is None else as_user(self.server.url, self.user)

    def trades(self) -> int:
        """Sent so far, to all connections together."""
        return sum(frame["type"] == "trade" for frame in self.sent)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(180):
            while not done():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.02)

    async def stored(self) -> list[tuple[str, Message]]:
        """Every message of the stream, with its subject."""
        info = await self.stream.info()
        found: list[tuple[str, Message]] = []
        if not info.messages:
            return found
        async with reading(self.stream, info.first_sequence) as reader:
            while len(found) < info.messages:
                batch = await reader.batch(1000, 1.0)
                found += [(one.subject, decoded(one.payload)) for one in batch]
        return found

    async def first_stored(self) -> float:
        """When the first trade of the stream was made, once there is one; seconds."""
        async with asyncio.timeout(180):
            while True:
                for _, message in await self.stored():
                    if isinstance(message, TradeMessage) and message.exchange_time:
                        return datetime.fromisoformat(message.exchange_time).timestamp()
                await asyncio.sleep(0.05)

    async def records(self, what: str) -> list[SessionRecord]:
        return [
            message
            for _, message in await self.stored()
            if isinstance(message, SessionRecord) and message.what == what
        ]

    async def missing(self, since: float) -> set[str]:
        """Ids of trades that the exchange made from then on and the stream does not have."""
        ids = [m.trade_id for _, m in await self.stored() if isinstance(m, TradeMessage)]
        have = Counter(ids)
        assert not [trade for trade, times in have.items() if times > 1], "a trade came twice"
        made = [t for t in self.sim.floor.tape.all() if t.at >= since * 1e6]
        return {self.sim.floor.tape.id_of(t.number).decode() for t in made} - have.keys()

    async def whole(self, since: float) -> None:
        """Wait until the stream has every trade from then on."""
        missing: set[str] = set()
        try:
            async with asyncio.timeout(180):
                while True:
                    # While a cluster has no leader nobody tells.
                    with suppress(StreamUnavailable):
                        if not (missing := await self.missing(since)):
                            return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            tape = self.sim.floor.tape
            made = [t.at / 1e6 for t in tape.all() if tape.id_of(t.number).decode() in missing]
            gaps = [
                (r.of_channel, r.since, r.until, r.reason)
                for r in [*await self.records("gap"), *await self.records("repaired")]
                if r.of_channel == "trade"
            ]
            raise AssertionError(
                f"{len(missing)} trades are missing: {made[:20]}, {gaps}"
            ) from None


@pytest.fixture
async def market(nats_server: NatsServer, request: pytest.FixtureRequest) -> AsyncIterator[Market]:
    """With settings of the simulator as its parameter."""
    client = await nats.connect(nats_server.url)
    wanted = streams.market_data(max_bytes=1 << 26)
    stream = Stream(client, wanted["name"], publisher="connector")
    await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
    await client.jetstream(timeout=60).purge_stream(wanted["name"])
    given = {"market_rate": 400, "traded_markets": 50, **getattr(request, "param", {})}
    async with Simulator(budget=0, ws_auth=False, **given) as sim:
        yield Market(sim, nats_server, stream)
    await client.close()
