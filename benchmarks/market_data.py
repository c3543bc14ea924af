"""Market data from the socket: messages a second, read and routed, published, and books kept.

A second process sends prepared frames as fast as they are taken; the client under test has a core
to itself. The ratio is against a bare `websockets` receive loop of the same frames in the same run.

usage: python benchmarks/market_data.py [--frames 60000]
"""

import argparse
import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import nats
import psutil
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from ssmd_client.live.scope import Scope
from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.health import Health
from ssmd_common.settings import NatsSettings
from ssmd_connector import metrics
from ssmd_connector.backlog import Backlog
from ssmd_connector.capture import Capture, everything
from ssmd_connector.life import Life
from ssmd_connector.outbox import Outbox, Room
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.oversized import cut
from ssmd_connector.receiver import Receiver
from ssmd_connector.secmaster import Event, Market, Series, SlimPicture
from ssmd_connector.seen import Seen
from ssmd_kalshi.books import Books
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.feed import MarketData
from ssmd_kalshi.marketdata import BOOK
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_stack.nats import NatsServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.publish.options import PublisherOptions
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.stream import Stream

ROUNDS = 3
BOOKS = 300


async def prepared(channel: str, count: int) -> list[bytes]:
    """Frames as the simulator makes them, of one channel."""
    from ssmd_simulator.server import Simulator

    async with Simulator(budget=0, ws_auth=False, market_rate=20_000, traded_markets=BOOKS) as sim:
        frames: list[bytes] = []
        now = sim.clock()
        tickers = [m.ticker for m in sim.universe.unsettled if m.status(now) == "active"][:BOOKS]
        wanted = Selection(channel, tickers if channel == BOOK else None)
        sim.hub.witnesses.append(lambda _, __, frame: frames.append(frame))
        async with KalshiSocket(sim.ws_url, channels=[wanted]) as socket:
            async for _ in socket:
                if len(frames) >= count:
                    break
    return [frame for frame in frames if b'"subscribed"' not in frame][:count]


def send(channel: str, count: int) -> None:
    """The sender, in a process of its own; prints its port."""

    async def run() -> None:
        frames = [frame.decode() for frame in await prepared(channel, count)]

        async def handle(connection: ServerConnection) -> None:
            await connection.recv()
            subscribed = '{"id":1,"type":"subscribed","msg":{"channel":"%s","sid":1}}'
            await connection.send(subscribed % channel)
            for frame in frames:
                await connection.send(frame)
            await connection.wait_closed()

        async with serve(handle, "127.0.0.1", 0, ping_interval=None, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            sys.stdout.write(f"port {port} {len(frames)}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()

    uvloop.run(run())


@asynccontextmanager
async def sender(channel: str, count: int) -> AsyncIterator[tuple[str, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--send", channel, "--frames", str(count), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        words = [b""]
        while words[:1] != [b"port"]:
            # The simulator's own lines come first.
            words = (await process.stdout.readline()).split()
        _, port, frames = words
        yield f"ws://127.0.0.1:{int(port)}/trade-api/ws/v2", int(frames)
    finally:
        process.terminate()
        await process.wait()


async def bare(url: str, count: int, _: str) -> None:
    async with connect(url, compression=None, ping_interval=None, max_queue=2048) as connection:
        await connection.send("subscribe")
        for _number in range(count + 1):
            await connection.recv(decode=False)


async def routed(url: str, count: int, channel: str, books: Books | None = None) -> None:
    markets = ("M",) if channel == BOOK else None
    policy = SocketPolicy(silence_seconds=60)
    async with KalshiSocket(url, channels=[Selection(channel, markets)], policy=policy) as socket:
        left = count
        async for event in socket:
            if books is not None:
                books.take(event)
            if isinstance(event, MarketData):
                left -= 1
                if not left:
                    return


async def with_books(url: str, count: int, channel: str) -> None:
    books = Books()
    await routed(url, count, channel, books)
    assert len(books) == BOOKS


class NoNames:
    def of(self, ticker: str) -> tuple[str | None, str | None]:
        return "KXBENCH", ticker[:12]


async def cut_off(message: MarketOutgoing, limit: int) -> MarketOutgoing:
    return cut(message, limit, "md.unreadable.0")


async def published(url: str, count: int, channel: str) -> None:
    """From the socket to NATS' acknowledgement, as connector does it; the stream is on disk."""
    with scratch_directory() as directory:
        async with NatsServer(directory / "nats") as server:
            client = await nats.connect(server.url)
            is_book = channel == BOOK
            wanted = (
                streams.books(0, max_bytes=1 << 30)
                if is_book
                else streams.market_data(max_bytes=1 << 30)
            )
            stream = Stream(client, wanted["name"])
            await ensure(stream, wanted, service="bench", size="-")
            info = await stream.info()
            publisher = Publisher[MarketOutgoing](
                stream,
                NatsAccess.of(NatsSettings.model_validate({"nats_url": server.url})),
                Health("bench"),
                PublisherOptions(4096, 16 << 20, 30.0, outage_budget_seconds=60.0),
                metrics.PUBLISHER,
                created=info.created,
                last_sequence=info.last_sequence,
                name="bench",
                rights=None,
                replace=cut_off,
            )
            policy = SocketPolicy(silence_seconds=60)
            async with (
                KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest,
                KalshiSocket(
                    url,
                    channels=[Selection(channel, ("M",) if is_book else None)],
                    policy=policy,
                ) as socket,
            ):
                capture = Capture("0", NoNames(), wants=everything, shard=0 if is_book else None)
                stop = asyncio.Event()
                backlog = Backlog(30.0, 200_000, 1 << 24)
                receiver = Receiver(socket, capture, backlog, Health("bench"))
                life = Life(
                    receiver, rest, stream, Outbox(Room(200_000, 1 << 28)), publisher, Seen(),
                    Health("bench"),
                )  # fmt: skip
                living = asyncio.create_task(life.run(stop))
                while receiver.sink is None:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0)
                receiving = asyncio.create_task(receiver.run())
                while publisher.acknowledged.messages < count:
                    await publisher.progressed()
                stop.set()
                await living
                receiving.cancel()
            await client.close()


async def best(work: Callable[[str, int, str], Awaitable[None]], *given: object) -> float:
    """Messages a second of CPU time of this process, best of some rounds."""
    url, count, channel = given
    seconds = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        await work(str(url), int(str(count)), str(channel))
        seconds = min(seconds, time.process_time() - began)
    return int(str(count)) / seconds


def view_megabytes() -> float:
    """What the live view of the whole universe takes, beside an empty one."""
    picture, process = SlimPicture(Scope()), psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    at = datetime(2026, 11, 29, tzinfo=UTC)
    for number in range(9_000):
        picture.put("series", Series(f"KXSERIES{number}", "Sports", ["Tag"], False, number))
    for number in range(30_000):
        series = sys.intern(f"KXSERIES{number % 9_000}")
        picture.put("events", Event(f"{series}-26NOV29-{number}", series, "Sports"))
    for number in range(90_000):
        series = sys.intern(f"KXSERIES{number % 9_000}")
        event = sys.intern(f"{series}-26NOV29-{number % 30_000}")
        market = Market(f"{event}-T{number}", event, series, "active", at, None, number)
        picture.put("markets", market)
    return (process.memory_info().rss - before) / 1e6


async def measure(count: int) -> None:
    out = sys.stdout.write
    out(f"live view of 90,000 markets: {view_megabytes():.0f} MB, ")
    out(f"all of this process {psutil.Process().memory_info().rss / 1e6:.0f} MB\n\n")
    out("| what | messages/s of CPU | of a bare receive loop |\n|---|---|---|\n")
    for channel in ("trade", "ticker", BOOK):
        async with sender(channel, count) as (url, frames):
            loop = await best(bare, url, frames, channel)
            out(f"| `websockets` alone, {channel} | {loop:,.0f} | 1 |\n")
            rate = await best(routed, url, frames, channel)
            out(f"| read and routed, {channel} | {rate:,.0f} | {rate / loop:.2f} |\n")
            rate = await best(published, url, frames, channel)
            stream = "MARKET_BOOKS_0" if channel == BOOK else "MARKET_DATA"
            what = f"to `{stream}`, acknowledged, {channel}"
            out(f"| {what} | {rate:,.0f} | {rate / loop:.2f} |\n")
            if channel == BOOK:
                rate = await best(with_books, url, frames, channel)
                out(f"| the same into {BOOKS} books | {rate:,.0f} | {rate / loop:.2f} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60_000)
    parser.add_argument("--send", metavar="CHANNEL", help="be the sender")
    options = parser.parse_args()
    if options.send:
        send(options.send, options.frames)
    else:
        uvloop.run(measure(options.frames))


if __name__ == "__main__":
    main()
