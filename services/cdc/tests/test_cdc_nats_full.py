"""A NATS that answers and does not store: its disk is full, or a limit is reached."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssmd_cdc.metrics import NOT_STORING
from ssmd_stack import binaries
from ssmd_stack.nats import NatsServer
from ssmd_stack.process import Process
from ssmd_stream import subjects
from ssmd_stream.publish.interruption import Interruption

CAP = 12 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 24 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def told(publisher: Any) -> str:
    return publisher.health.conditions.get("nats") or ""


async def test_a_full_disk_of_nats(
    small_disk: Path, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, does not ask all the time, stays unready, and goes on when NATS does."""
    server = NatsServer(small_disk / "nats")
    pauses = []
    rest = Interruption.rest

    async def rest_and_note(self: Any) -> None:
        pauses.append(self._pause)
        await rest(self)

    monkeypatch.setattr(Interruption, "rest", rest_and_note)
    async with server:
        bench.nats_server = server
        publisher = bench.start(cdc_stream_max_bytes=CAP, cdc_ack_seconds=0.5)
        await publisher.ready()
        filler = small_disk / "filler"
        left = os.statvfs(small_disk)
        filler.write_bytes(b"x" * (left.f_bavail * left.f_frsize - (2 << 20)))
        async with bench.database.connect() as db:
            for number in range(8):
                await db.execute(
                    "INSERT INTO series (ticker, title) SELECT %s || g, repeat(md5(g::text), 300)"
                    " FROM generate_series(1, 50) g",
                    (f"S{number}-",),
                )
        await publisher.until(lambda p: "does not store" in told(p))
        assert "disk of its store_dir" in told(publisher)
        async with bench.client() as client:
            version = client.connected_server_version
        if (version.major, version.minor) >= (2, 12):
            # It says nothing where an older server names the error.
            await publisher.until(lambda p: "does not store: it answers" in told(p))
            assert "until it is restarted" in told(publisher)
        seen: list[bool] = []

        def tried_often(p: Any) -> bool:
            seen.append(p.health.ready)
            return pauses.count(1.0) >= 3

        await publisher.until(tried_often)
        assert not any(seen)
        assert "does not store" in publisher.health.last_error
        assert max(pauses) == 1.0
        # Room alone does not mend NATS 2.15; a restart does, and then we go on.
        filler.unlink()
        await server.stop()
        await server.start()
        await publisher.ready()
        stream = await bench.assert_faithful(publisher)
        assert (stream.first, stream.epochs) == (1, {1})
        await publisher.kill()


async def test_a_limit_of_the_stream(bench: Any) -> None:
    """Someone made it refuse what is new; once it takes messages, we go on by ourselves."""
    publisher = bench.start(cdc_ack_seconds=1.0)
    await publisher.ready()
    async with bench.client() as client:
        manager = client.jetstream(timeout=60)
        info = await manager.stream_info(subjects.STREAM)
        config = info.config
        was = config.discard, config.max_bytes
        config.discard, config.max_bytes = "new", info.state.bytes + 1000
        await manager.update_stream(config)
        async with bench.database.connect() as db:
            await db.execute(
                "INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(1, 50) g"
            )
        await publisher.until(lambda p: "maximum bytes exceeded (error 10077)" in told(p))
        assert "does not store" in told(publisher)
        assert "limits of JetStream" in told(publisher)
        assert NOT_STORING._value.get() == 1
        config.discard, config.max_bytes = was
        await manager.update_stream(config)
    await publisher.ready()
    assert NOT_STORING._value.get() == 0
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}


async def test_jetstream_is_off(bench: Any, tmp_path: Path) -> None:
    """As NATS turns it off when its disk fails: it runs, and nobody answers for JetStream."""
    publisher = bench.start(cdc_ack_seconds=1.0)
    await publisher.ready()
    await bench.insert(3)
    await bench.settled(publisher)
    await bench.nats_server.stop()
    plain = Process(
        [binaries.nats_server(), "-a", "127.0.0.1", "-p", str(bench.nats_server.port)],
        log=tmp_path / "plain.log",
    )
    try:
        await bench.insert(3, "T")
        await publisher.until(lambda p: "NATS runs without JetStream" in told(p))
        assert "when it is restarted" in told(publisher)
    finally:
        await plain.stop()
    await bench.nats_server.start()
    await publisher.ready()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}
