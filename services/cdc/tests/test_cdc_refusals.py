"""What cannot work as configured ends the service with a sentence that says what to mend."""

import asyncio
import dataclasses
import json
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from nats.aio.client import Client
from nats.js.api import StorageType

from ssmd_cdc import kept_connection
from ssmd_cdc.errors import SlotRefused
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections.session import Session
from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode
from ssmd_common.granting import grants
from ssmd_common.rights import RIGHTS
from ssmd_common.settings import load
from ssmd_stream import subjects
from ssmd_stream.errors import StreamRefused

PATIENCE_SECONDS = 180


async def end_of(publisher: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await publisher.task


async def test_a_stream_that_cannot_be_changed(bench: Any) -> None:
    async with bench.client() as client:
        await client.jetstream(timeout=60).add_stream(
            name=subjects.STREAM, subjects=[subjects.SUBJECTS], storage=StorageType.MEMORY
        )
    with pytest.raises(StreamRefused, match="refuses the stream SECMASTER_CDC") as refusal:
        await end_of(bench.start())
    assert refusal.value.exit_code == ExitCode.USAGE


async def test_a_setting_that_the_server_drops_in_silence(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers before 2.10 drop the compression: only reading it back shows that."""
    request = Client.request

    async def forget(self: Client, subject: str, payload: bytes = b"", **more: Any) -> Any:
        if subject.startswith(("$JS.API.STREAM.CREATE", "$JS.API.STREAM.UPDATE")):
            wanted = json.loads(payload)
            wanted.pop("compression", None)
            payload = json.dumps(wanted).encode()
        return await request(self, subject, payload, **more)

    monkeypatch.setattr(Client, "request", forget)
    with pytest.raises(StreamRefused, match=r"keeps other settings .*\(compression\)"):
        await end_of(bench.start())


@pytest.mark.embedded
async def test_a_database_that_is_not_logged_logically(own_server: Any, bench: Any) -> None:
    await own_server.stop()
    own_server.settings["wal_level"] = "replica"
    await own_server.start()
    with pytest.raises(SlotRefused, match="wal_level replica"):
        await end_of(bench.start())


async def test_a_role_that_may_not_replicate(own_server: Any, bench: Any) -> None:
    but_for_that = dataclasses.replace(RIGHTS["cdc"].postgres, replication=False)
    async with await psycopg.AsyncConnection.connect(
        own_server.admin_url, dbname=bench.database.name, autocommit=True
    ) as db:
        await db.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
        for statement in grants(but_for_that, "reader", bench.database.name):
            await db.execute(statement)
    parts = urlsplit(bench.database.url)
    url = parts._replace(netloc=f"reader:reader@{parts.hostname}:{parts.port}").geturl()
    with pytest.raises(SlotRefused, match="give the role REPLICATION") as refusal:
        await end_of(bench.start(database_url=url))
    assert refusal.value.exit_code == ExitCode.USAGE


async def test_a_pooler_that_begins_to_share_its_sessions(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed under a running cdc: from one beat on another process of the server answers."""
    publisher = bench.start()
    await publisher.ready()
    look = kept_connection.look

    async def look_at_anothers(session: Session) -> None:
        session.backend += 1
        await look(session)

    monkeypatch.setattr(kept_connection, "look", look_at_anothers)
    with pytest.raises(ConfigurationError, match="use session pooling or a direct connection"):
        await end_of(publisher)


def test_settings_that_do_not_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once; the second is a default."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/x")
    monkeypatch.setenv("CDC_HEARTBEAT_SECONDS", "61")
    monkeypatch.setenv("CDC_FEEDBACK_SECONDS", "5")
    with pytest.raises(ConfigurationError) as refusal:
        load(CdcSettings)
    assert "CDC_HEARTBEAT_SECONDS: must be at most 60" in str(refusal.value)
    assert "CDC_WAL_SENDER_TIMEOUT_SECONDS: PostgreSQL would hang up" in str(refusal.value)
    monkeypatch.setenv("CDC_HEARTBEAT_SECONDS", "60")
    monkeypatch.setenv("CDC_WAL_SENDER_TIMEOUT_SECONDS", "11")
    assert load(CdcSettings).cdc_wal_sender_timeout_seconds == 11
