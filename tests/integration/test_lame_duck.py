"""A node of NATS is drained (lame-duck mode) under cdc and cache, as a rolling update does it."""

import asyncio
import os
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import psycopg
import pytest
from topology import PATIENCE_SECONDS, Topology, topology, verify

from ssmd_stack.database import Database
from ssmd_stack.fixtures import stack_kind
from ssmd_stack.nats_cluster import NatsCluster
from ssmd_stack.valkey import ValkeyServer
from ssmd_stream import subjects

# The shortest that a server takes: clients are told at once, and closed after the grace period.
DRAINS = {"lame_duck_duration": "30s", "lame_duck_grace_period": "1s"}
LONGEST_PAUSE = timedelta(seconds=20)


@pytest.fixture
async def cluster(scratch: Path) -> AsyncIterator[NatsCluster]:
    if stack_kind() != "embedded":
        pytest.skip("a cluster of NATS nodes is only made of embedded servers")
    made = NatsCluster(scratch / f"nats-{secrets.token_hex(4)}", options=DRAINS)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        made.remove()


@pytest.fixture
async def services(
    cluster: NatsCluster, valkey_server: ValkeyServer, tmp_path: Path
) -> AsyncIterator[Topology]:
    async with topology(cluster, valkey_server, tmp_path) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_nothing_is_lost_or_doubled_while_a_node_is_drained(
    services: Topology, cluster: NatsCluster, database: Database
) -> None:
    """The one that both are connected to and that leads the stream."""
    drained, *others = cluster.nodes
    at = {"NATS_URL": drained.url, "CDC_STREAM_REPLICAS": "3"}
    cdc = await services.start("cdc", database.url, **at)
    cache = await services.start("cache", database.url, **at)
    await cdc.ready()
    await cache.ready()
    await lead_from(drained.url, "n0")
    stop = asyncio.Event()
    writing = asyncio.create_task(write_until(stop, database.url))
    assert drained.pid is not None
    os.kill(drained.pid, signal.SIGUSR2)
    assert await asyncio.wait_for(drained.wait(), PATIENCE_SECONDS) == 0
    stop.set()
    written = await writing
    assert written > 20, "nothing was written meanwhile"
    stored = await stored_inserts(others[0].url, written)
    assert set(stored.values()) == {1}, "a change is in the stream twice"
    assert len(stored) == written
    await cdc.ready()
    await cache.ready()
    assert not cdc.codes + cache.codes, "a service ended"
    verified = await asyncio.to_thread(verify, {**services.environment, "NATS_URL": cluster.url,
                                                "DATABASE_URL": database.url})  # fmt: skip
    assert verified.returncode == 0, verified.stdout + verified.stderr


async def lead_from(url: str, name: str) -> None:
    """Have the stream's leader step down until it is this node."""
    client = await nats.connect(url)
    jetstream = client.jetstream(timeout=2)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    info = await jetstream.stream_info(subjects.STREAM)
                    if info.cluster and info.cluster.leader == name:
                        return
                    await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{subjects.STREAM}")
                except (nats.errors.Error, nats.js.errors.Error):
                    pass
                await asyncio.sleep(0.2)
    finally:
        await client.close()


async def write_until(stop: asyncio.Event, url: str) -> int:
    """A series every 20 ms, each in a transaction of its own; how many."""
    written = 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while not stop.is_set():
            await connection.execute(
                "INSERT INTO series (ticker, category) VALUES (%s, 'C')", (f"D{written}",)
            )
            written += 1
            await asyncio.sleep(0.02)
    return written


async def stored_inserts(url: str, wanted: int) -> Counter[str]:
    """How often each of those series stands in the stream; never long without a message."""
    client = await nats.connect(url)
    found: Counter[str] = Counter()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            subscription = await client.jetstream(timeout=10).subscribe(
                "cdc.series.insert.>", ordered_consumer=True
            )
            before = None
            async for message in subscription.messages:
                at = message.metadata.timestamp
                assert before is None or at - before < LONGEST_PAUSE
                before = at
                found[message.subject] += 1
                if len(found) == wanted and not message.metadata.num_pending:
                    break
    finally:
        await client.close()
    return found
