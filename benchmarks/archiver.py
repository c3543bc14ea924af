"""The archiver's figures: messages a second from the stream to sealed files, and its memory.

A backlog of messages as large as a market's (with --market-data: of trades) is archived by the
service, bound to one core, and read by a bare pull consumer of nats-py that writes plain lines,
bound to the same one, in the same run: it only moves bytes, ours are checked, counted, compressed,
hashed and listed.

usage: make bench BENCH=archiver ARGS="--messages 300000 --market-data"
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import nats
import psutil
from nats.js.api import AckPolicy, ConsumerConfig

from ssmd_common.migrations import migration_files
from ssmd_common.streams import MARKET_DATA_STREAM
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stream.market import streams, subjects
from ssmd_stream.market.messages import TradeMessage, encoded, evidence
from ssmd_stream.subjects import STREAM

BATCH = 1000
IDLE_SECONDS = 20
COLUMNS = {f"column_{n}": "0.4200" if n % 2 else n for n in range(40)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--market-data", action="store_true")
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        url, folder_of_lines = arguments.bare
        await bare(url, folder_of_lines, arguments.messages, arguments.market_data)
        return
    with scratch_directory() as folder:
        postgres = PostgresServer(folder / "postgres", durable=False)
        async with NatsServer(folder / "nats") as server, postgres:
            await migrate(postgres.url, migration_files())
            size = await publish(server.url, arguments.messages, arguments.market_data)
            more = ["--market-data"] if arguments.market_data else []
            theirs = await child_seconds(
                [__file__, "--messages", str(arguments.messages), *more, "--bare"],
                server.url,
                folder,
            )
            ours, memory, processor, idle = await archive(
                server.url, postgres.url, folder / "archive", arguments.messages, *more
            )
    rate_of_processor = arguments.messages / processor
    rate, bare_rate = arguments.messages / ours, arguments.messages / theirs
    sys.stdout.write(
        f"| stream to sealed files, one core, {size} bytes a message | {rate:,.0f} messages/s |"
        " aim: 20,000 |\n"
        f"| the same as a share of a bare pull consumer | {rate / bare_rate:.2f}"
        f" | aim: 0.5 (it: {bare_rate:,.0f} messages/s) |\n"
        f"| the same by processor time | {rate_of_processor:,.0f} messages/s | what else runs does"
        " not count |\n"
        f"| idle | {idle:.2%} of a core | aim: 0.5% |\n"
        f"| resident memory of archiver, at most | {memory / 1e6:.0f} MB | aim: under 120 MB |\n"
    )


async def publish(url: str, count: int, market_data: bool) -> int:
    """Messages as cdc or connector publishes them; the bytes of one."""
    client = await nats.connect(url)
    js = client.jetstream()
    stream = streams.market_data() if market_data else {"name": STREAM, "subjects": ["cdc.>"]}
    await js.add_stream(name=stream["name"], subjects=list(stream["subjects"]))
    payload = b""
    for start in range(0, count, BATCH):
        waiting = []
        for number in range(start, min(start + BATCH, count)):
            subject, payload = trade(number) if market_data else change(number)
            waiting.append(await js.publish_async(subject, payload))
        await asyncio.gather(*waiting)
    await client.close()
    return len(payload)


def change(number: int) -> tuple[str, bytes]:
    """A subject and a payload of SECMASTER_CDC."""
    payload = json.dumps(
        {
            "v": 1, "lsn": "0/16B3748", "xid": 734219, "epoch": 3,
            "timestamp": "2026-02-03T22:05:00.123456Z", "seq": number,
            "table": "markets", "op": "update", "type": "market_updated",
            "ticker": f"KXBTCD-26FEB03-T{number}", "key": {"ticker": f"T{number}"},
            "data": {**COLUMNS, "volume": number}, "changes": {},
        },
        separators=(",", ":"),
    ).encode()  # fmt: skip
    return f"cdc.markets.update.KXBTCD.KXBTCD-26FEB03.KXBTCD-26FEB03-T{number % 100}", payload


def trade(number: int) -> tuple[str, bytes]:
    """The same of MARKET_DATA."""
    ticker = f"KXBTCD-26FEB03-T{number % 1000}"
    message = TradeMessage(
        v=1, connector="0", session="01JKV2ZQ6E", frame=number, source="ws", series="KXBTCD",
        received_at="2026-02-03T22:05:00.123456Z", event="KXBTCD-26FEB03", ticker=ticker, sid=2,
        seq=number, exchange_time="2026-02-03T22:05:00.000000Z", trade_id=f"{number:032x}",
        price="0.4200", count="10.00", taker_side="yes",
        msg=evidence(b'{"trade_id":"d91bc706","yes_price_dollars":"0.4200","count_fp":"10.00"}'),
    )  # fmt: skip
    return subjects.trade("KXBTCD", "KXBTCD-26FEB03", ticker), encoded(message)


async def bare(url: str, folder: str, count: int, market_data: bool) -> None:
    """Read all, write lines, say how many seconds it took."""
    client = await nats.connect(url)
    js = client.jetstream()
    consumer = await js.pull_subscribe(
        "md.>" if market_data else "cdc.>",
        stream=MARKET_DATA_STREAM if market_data else STREAM,
        config=ConsumerConfig(ack_policy=AckPolicy.NONE),
    )
    began, read = time.monotonic(), 0
    with (Path(folder) / "plain.jsonl").open("wb") as file:
        while read < count:
            messages = await consumer.fetch(BATCH, timeout=5)
            file.writelines(message.data + b"\n" for message in messages)
            read += len(messages)
        file.flush()
        os.fsync(file.fileno())
    sys.stdout.write(f"{time.monotonic() - began}\n")
    await client.close()


async def child_seconds(arguments: list[str], url: str, folder: Path) -> float:
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, url, str(folder), stdout=asyncio.subprocess.PIPE
    )
    bind(child.pid)
    output, _ = await child.communicate()
    return float(output)


def bind(pid: int) -> None:
    """To the last core."""
    psutil.Process(pid).cpu_affinity([max(os.sched_getaffinity(0))])


class Figures(NamedTuple):
    """Seconds, and those of processor time; the most memory; the share of a core when idle."""

    seconds: float
    memory: int
    processor: float
    idle: float


async def archive(url: str, database: str, root: Path, count: int, *more: str) -> Figures:
    """Of archiving all of them, sealed in many segments meanwhile."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "NATS_URL": url,
        "ARCHIVER_ROOT": str(root),
        "ARCHIVER_STREAMS": MARKET_DATA_STREAM if more else STREAM,
        "ARCHIVER_ROTATE_SECONDS": "86400",
        "ARCHIVER_ROTATE_BYTES": str(1 << 20),
        "OPS_HOST": "127.0.0.1",
        "OPS_PORT": str(port),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_archiver", env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    bind(child.pid)
    process, memory = psutil.Process(child.pid), 0
    began, at_first, before = None, 0.0, 0.0
    try:
        async with aiohttp.ClientSession() as http:
            while True:
                memory = max(memory, process.memory_info().rss)
                written = await metric(http, port)
                if began is None and written:
                    began, at_first = time.monotonic(), written
                    before = processor_seconds(process)
                if written >= count:
                    assert began is not None
                    share = count / (count - at_first)
                    seconds = (time.monotonic() - began) * share
                    processor = (processor_seconds(process) - before) * share
                    return Figures(seconds, memory, processor, await idle_share(process))
                await asyncio.sleep(0.01 if began is None else 0.1)
    finally:
        child.terminate()
        await child.wait()


def processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def idle_share(process: psutil.Process) -> float:
    """Of a core, once the state is taken."""
    await asyncio.sleep(IDLE_SECONDS / 2)
    before = processor_seconds(process)
    await asyncio.sleep(IDLE_SECONDS)
    return (processor_seconds(process) - before) / IDLE_SECONDS


async def metric(http: aiohttp.ClientSession, port: int) -> float:
    """How many messages are written."""
    try:
        async with http.get(f"http://127.0.0.1:{port}/metrics") as reply:
            text = await reply.text()
    except aiohttp.ClientError:
        return 0.0
    found: Any = [
        line.split()[1] for line in text.splitlines() if line.startswith("ssmd_work_total ")
    ]
    return float(found[0]) if found else 0.0


if __name__ == "__main__":
    asyncio.run(main())
