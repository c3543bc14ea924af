"""cdc on a cluster of three NATS nodes: with a quorum alive it goes on, whichever node is lost."""

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest

from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.nats_cluster import NatsCluster
from ssmd_stream import subjects

from .conftest import PATIENCE_SECONDS, Bench, Publisher


class ClusterBench(Bench):
    """The test itself asks whichever nodes live."""

    cluster: NatsCluster

    async def until_stored(self, prefix: str, count: int) -> None:
        """The stream holds an insert for each of these series, once."""
        client = await nats.connect([node.url for node in self.cluster.nodes if node.running])
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    try:
                        info = await client.jetstream(timeout=2).stream_info(
                            subjects.STREAM, subjects_filter="cdc.series.insert.*"
                        )
                        found = {
                            subject: times
                            for subject, times in (info.state.subjects or {}).items()
                            if subject.startswith(f"cdc.series.insert.{prefix}")
                        }
                        if len(found) >= count:
                            assert set(found.values()) == {1}
                            return
                    except (nats.errors.Error, nats.js.errors.Error):
                        pass
                    await asyncio.sleep(0.05)
        finally:
            await client.close()


@pytest.fixture
async def bench(database: Database, nats_cluster: NatsCluster) -> AsyncIterator[ClusterBench]:
    made = ClusterBench(database, nats_cluster)  # type: ignore[arg-type]
    made.cluster = nats_cluster
    try:
        yield made
    finally:
        for publisher in made.publishers:
            if not publisher.task.done():
                await publisher.kill()


@pytest.mark.slow
async def test_it_goes_on_when_the_node_of_its_url_is_gone_for_good(bench: ClusterBench) -> None:
    """The URL names one node; the others are known from it."""
    first = bench.cluster.nodes[0]
    publisher = bench.start(nats_url=first.url, cdc_stream_replicas=3)
    await publisher.ready()
    await bench.insert(20, "A")
    await bench.until_stored("A", 20)
    await first.kill()
    await bench.insert(20, "B")
    await bench.until_stored("B", 20)
    await publisher.ready()
    assert publisher.health.conditions["nats"] is None


@pytest.mark.slow
async def test_any_node_may_go_in_mid_stream(bench: ClusterBench) -> None:
    """One after the other, so that the stream's leader is among them; two always live."""
    publisher = bench.start(nats_url=bench.cluster.url, cdc_stream_replicas=3)
    await publisher.ready()
    for number, node in enumerate(bench.cluster.nodes):
        await _while_writing(bench, publisher, node, f"N{number}")
        await node.start()
        await _whole(bench.cluster)
        await publisher.ready()


async def _while_writing(
    bench: ClusterBench, publisher: Publisher, node: NatsServer, prefix: str
) -> None:
    writing = asyncio.create_task(bench.insert(100, prefix))
    await node.kill()
    await writing
    await bench.until_stored(prefix, 100)
    await publisher.ready()


async def _whole(cluster: NatsCluster) -> None:
    """Every replica of the stream is current again."""
    client = await nats.connect([node.url for node in cluster.nodes])
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    info = await client.jetstream(timeout=2).stream_info(subjects.STREAM)
                    replicas = info.cluster.replicas if info.cluster else None
                    if replicas and all(replica.current for replica in replicas):
                        return
                except (nats.errors.Error, nats.js.errors.Error):
                    pass
                await asyncio.sleep(0.05)
    finally:
        await client.close()
