"""What an operator sees of the publisher: metrics, readiness, what `ssmd cdc status` tells."""

import asyncio
import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from ssmd_cdc import metrics
from ssmd_cdc import overview as overview_module
from ssmd_cdc.overview import Memory, Overview, Slot, StreamState, _problems, overview
from ssmd_common.metrics import LAG_SECONDS, LEADER
from ssmd_stack.proxy import TcpProxy

PATIENCE_SECONDS = 180

GAUGES = (
    metrics.SLOT_LAG_BYTES,
    metrics.SLOT_RETAINED_BYTES,
    metrics.SLOT_SAFE_BYTES,
    metrics.IN_FLIGHT,
    metrics.IN_FLIGHT_BYTES,
    metrics.HEARTBEAT_SECONDS,
    metrics.EPOCH,
    LAG_SECONDS,
    LEADER,
)
COUNTS: dict[str, dict[str, str]] = {
    "ssmd_cdc_messages_total": {"table": "series", "op": "update"},
    "ssmd_cdc_publish_seconds_count": {},
    "ssmd_cdc_commit_to_ack_seconds_count": {},
    "ssmd_cdc_restarts_total": {"cause": "postgres"},
    "ssmd_cdc_epochs_total": {"cause": "first_start"},
}


def counts() -> dict[str, float]:
    return {name: REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in COUNTS.items()}


async def test_the_metrics_of_a_publisher(bench: Any) -> None:
    # They belong to the process, so that another test's values may be in them.
    for gauge in GAUGES:
        gauge.set(-1)
    before = counts()
    publisher = bench.start()
    await publisher.ready()
    async with bench.database.connect() as db:
        await db.execute("INSERT INTO series (ticker) SELECT g FROM generate_series(1, 5) g")
        await db.execute("UPDATE series SET title = 'x'")
        await bench.settled(publisher)
    await bench.end_session()

    def since() -> dict[str, float]:
        return {name: now - before[name] for name, now in counts().items()}

    await publisher.until(lambda p: since()["ssmd_cdc_restarts_total"] == 1)
    await publisher.ready()
    await publisher.until(lambda p: since()["ssmd_cdc_messages_total"] == 5)
    assert since()["ssmd_cdc_epochs_total"] == 1
    assert since()["ssmd_cdc_publish_seconds_count"] > 0
    assert since()["ssmd_cdc_commit_to_ack_seconds_count"] >= 2
    # Without max_slot_wal_keep_size there is no limit.
    assert math.isnan(metrics.SLOT_SAFE_BYTES._value.get())
    for gauge in GAUGES:
        assert gauge._value.get() != -1, gauge
    assert (LEADER._value.get(), metrics.EPOCH._value.get()) == (1, 1)
    assert metrics.HEARTBEAT_SECONDS._value.get() > 0
    assert metrics.SLOT_RETAINED_BYTES._value.get() >= metrics.SLOT_LAG_BYTES._value.get() >= 0


@pytest.mark.slow
async def test_a_standby_does_not_say_what_only_the_leader_knows(bench: Any) -> None:
    """It led until NATS went away for it, and another took over."""
    async with TcpProxy(bench.nats_server.url) as between:
        publisher = bench.start(nats_url=between.url)
        await publisher.ready()
        between.freeze()
        await publisher.until(lambda p: bool(p.health.conditions["nats"]))
        leader = await bench.process()
        await bench.end_session()
        await publisher.until(lambda p: p.health.state == "standby")
        assert set(publisher.health.document()["reasons"]) == {"slot"}
        assert publisher.health.ready
        for gauge in GAUGES:
            assert math.isnan(gauge._value.get()) or gauge in (metrics.EPOCH, LEADER), gauge
        between.thaw()
        leader.terminate()
        assert await leader.wait() == 0


async def test_a_slot_far_behind_is_not_ready(bench: Any) -> None:
    publisher = bench.start(cdc_ready_lag_bytes=100_000, cdc_ready_lag_seconds=600)
    await publisher.ready()
    await bench.nats_server.stop()
    async with bench.database.connect() as db:
        await db.execute(
            "INSERT INTO series (ticker, title)"
            " SELECT g, repeat('x', 300) FROM generate_series(1, 500) g"
        )
    await publisher.until(lambda p: "bytes behind" in (p.health.conditions["slot"] or ""))
    found = metrics.SLOT_LAG_BYTES._value.get()
    assert found > 100_000
    await bench.nats_server.start()
    await publisher.ready()
    await bench.assert_faithful(publisher)


async def test_the_overview(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    async with bench.client() as client:
        found = await overview(publisher.settings, client)
        assert found.problems == []
        assert found.slot is not None
        assert (found.slot.active, found.slot.name) == (True, bench.slot)
        assert found.memory is not None
        assert (found.memory.epoch, found.memory.announcing) == (1, False)
        assert found.stream is not None
        assert found.stream.tail is not None
        assert found.stream.tail.startswith("1:")
        await publisher.stop()
        found = await overview(publisher.settings, client)
        assert found.problems == ["nobody streams from the slot: start cdc"]


def test_each_problem_has_its_sentence(bench: Any) -> None:
    slot = Slot("s", True, "reserved", "0/1", 0, 0, None, 0.0)
    memory = Memory(7, 1, "0/1", 0, False, datetime.now(UTC))
    stream = StreamState(1, 1, 1, 1, 1, 1, "7:0/1:0", 0)
    settings = bench.settings(cdc_ready_lag_bytes=10)

    def problems(slot: Slot | None, memory: Memory, stream: StreamState | None) -> list[str]:
        return _problems(Overview(slot, memory, stream, []), settings)

    assert problems(slot, memory, stream) == []
    for changed, word in (
        ((None, memory, stream), "slot .* is missing"),
        ((replace(slot, wal_status="lost"), memory, stream), "slot is lost"),
        ((replace(slot, active=False), memory, stream), "nobody streams"),
        ((replace(slot, lag_bytes=11), memory, stream), "11 bytes behind"),
        ((replace(slot, still_seconds=12.0), memory, stream), "for 12 s, with 0 bytes"),
        ((slot, replace(memory, announcing=True), stream), "epoch 7 is still being announced"),
        ((slot, memory, None), "stream SECMASTER_CDC is missing"),
        ((slot, memory, replace(stream, dead_letters=3)), "3 messages are in SECMASTER_DLQ"),
    ):
        [problem] = problems(*changed)
        assert re.search(word, problem), problem


async def test_an_outage_of_seconds_is_seen_though_few_bytes_wait(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS hangs for cdc only. The server's own measure of the lag stays at its last value."""
    async with TcpProxy(bench.nats_server.url) as between, bench.client() as client:
        publisher = bench.start(nats_url=between.url)
        await publisher.ready()

        async def until_stuck(wanted: bool) -> Any:
            # What was confirmed just before moves the slot once more.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (found := await overview(publisher.settings, client)).stuck != wanted:
                    pass
            return found

        await until_stuck(False)
        between.freeze()
        await bench.insert(1)
        with monkeypatch.context() as patch:
            patch.setattr(overview_module, "STILL_SECONDS", 2.0)
            found = await until_stuck(True)
        assert found.slot.lag_seconds >= 2
        # A row, and what the server writes by itself.
        assert found.slot.lag_bytes < 1_000_000
        [problem] = found.problems
        assert "nothing was published or confirmed for" in problem
        between.thaw()
        await publisher.ready()
        await bench.settled(publisher)
        await until_stuck(False)


async def test_its_position_and_lag_for_whoever_writes_them_down(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    before = datetime.now(UTC)
    await bench.insert(3)
    stream = await bench.settled(publisher)
    last = stream.bodies[-1]
    await publisher.until(lambda p: p.health.position["stream_sequence"] == stream.last)
    position = publisher.health.position
    assert position == {
        "epoch": 1,
        "lsn": last["lsn"],
        "stream_sequence": stream.last,
        "commit_time": position["commit_time"],
    }
    # Marks in the WAL are transactions too, and may have moved it on.
    assert before <= datetime.fromisoformat(str(position["commit_time"])) <= datetime.now(UTC)
    assert str(position["commit_time"]) >= last["timestamp"]
    assert 0 <= publisher.health.lag_seconds < 60


async def test_writes_to_unpublished_tables_are_no_lag_and_no_messages(bench: Any) -> None:
    """As each service's own state, every few seconds."""
    publisher = bench.start(cdc_ready_lag_seconds=5.0)
    await publisher.ready()
    length = await bench.last_sequence()
    async with bench.database.connect() as db:
        await db.execute("CREATE TABLE own_state (name text PRIMARY KEY, n int)")
        await db.execute("INSERT INTO own_state VALUES ('a', 0)")
        for _ in range(200):
            await db.execute("UPDATE own_state SET n = n + 1")
        memory = await (await db.execute("SELECT updated_at FROM cdc_state")).fetchone()
        # The slot moves past them all.
        await bench.settled(publisher)
        assert await (await db.execute("SELECT updated_at FROM cdc_state")).fetchone() == memory
    assert await bench.last_sequence() == length
    assert publisher.health.ready
    assert publisher.health.last_error is None
