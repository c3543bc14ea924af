"""`ssmd lifecycle tail|status` against a real stream and real tables."""

import json
import os
from datetime import UTC, datetime
from typing import Any

import nats
import warm
from nats.js.api import StreamConfig

from ssmd_cli.lifecycle_tail import filters, line
from ssmd_common.leader import lock_key
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects


async def ssmd(*arguments: str, **environment: str) -> tuple[int, str, str]:
    merged = {**os.environ, "NO_COLOR": "1", **environment}
    return await warm.ssmd(("lifecycle", *arguments), None, merged)


def change(number: int, event_type: str, ticker: str, **row: Any) -> tuple[str, bytes]:
    data = {
        "id": number,
        "market_ticker": ticker,
        "event_ticker": None,
        "event_type": event_type,
        "received_at": "2026-11-21T03:00:00Z",
        "sent_at": None,
        "metadata": {"msg": {}},
        **row,
    }
    document = {
        "v": 1,
        "lsn": f"0/{number:X}",
        "seq": 0,
        "xid": number,
        "epoch": 1,
        "table": "market_lifecycle_events",
        "op": "insert",
        "type": "lifecycle_recorded",
        "ticker": ticker,
        "key": {"id": number},
        "data": data,
        "timestamp": "2026-11-21T03:00:00Z",
    }
    name = subjects.subject("market_lifecycle_events", "insert", data)
    return name, json.dumps(document).encode()


async def test_tail_follows_one_series_and_one_type(
    nats_server: NatsServer, database: Database
) -> None:
    async with database.connect() as connection:
        await connection.execute("INSERT INTO series (ticker) VALUES ('KXA'), ('KXB')")
        await connection.execute(
            "INSERT INTO events (event_ticker, series_ticker)"
            " VALUES ('KXA-1', 'KXA'), ('KXB-1', 'KXB')"
        )
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker)"
            " VALUES ('KXA-1-T1.5', 'KXA-1', 'KXA'), ('KXB-1-1', 'KXB-1', 'KXB')"
        )
    client = await nats.connect(nats_server.url)
    js = client.jetstream(timeout=60)
    await js.add_stream(StreamConfig(name=subjects.STREAM, subjects=[subjects.SUBJECTS]))
    for message in (
        change(1, "opened", "KXA-1-T1.5", metadata={"source": "clock"}),
        change(2, "settled", "KXB-1-1"),
        change(3, "settled", "KXA-1-T1.5", settled_ts="2026-11-21T02:59:00Z"),
        change(4, "determined", "KXA-1-T1.5", result="yes"),
    ):
        await js.publish(*message)
    # What cannot be read, and rows that only a stranger's program would write.
    deep = b"[" * 2000 + b"]" * 2000
    poison = change(5, "settled", "KXA-1-T1.5", metadata="?")[1].replace(b'"?"', deep)
    for content in (poison, b"hello", b""):
        await js.publish("cdc.market_lifecycle_events.insert.settled.X", content)
    for row in (
        {"market_ticker": {"a": 1}},
        {"market_ticker": "\x00"},
        {"market_ticker": 7, "event_ticker": []},
    ):
        await js.publish(*change(6, "settled", "OTHER", **row))
    await js.publish(*change(7, "settled", "KXA-1-T1.5", received_at="infinity", metadata=[1]))
    await js.publish(*change(8, "settled", "KXA-1-T1.5", sent_at="-0043-03-15T00:00:00Z"))
    # A marker: this row could not be carried.
    _, marker = change(9, "settled", "KXA-1-T1.5")
    document = {**json.loads(marker), "data": None, "error": "its bytes are in SECMASTER_DLQ"}
    await js.publish("cdc.market_lifecycle_events.insert._._", json.dumps(document).encode())
    await js.publish(*change(10, "settled", "KXA-1-T1.5"))
    await client.close()
    stores = {"NATS_URL": nats_server.url, "DATABASE_URL": database.url}
    code, out, error = await ssmd(
        "tail", "--since", "1", "--series", "KXA", "--limit", "3", "--json", **stores
    )
    assert code == 0, error
    rows = [json.loads(text) for text in out.splitlines()]
    assert [row["event_type"] for row in rows] == ["opened", "settled", "determined"]
    code, out, error = await ssmd(
        "tail", "--since", "1", "--type", "settled", "--limit", "2", **stores
    )
    assert code == 0, error
    assert [text.split()[1:3] for text in out.splitlines()] == [
        ["settled", "KXB-1-1"],
        ["settled", "KXA-1-T1.5"],
    ]
    code, out, error = await ssmd(
        "tail", "--since", "5", "--type", "settled", "--series", "KXA", "--limit", "3", **stores
    )
    assert code == 0, error
    assert [text.split()[:3] for text in out.splitlines()] == [
        ["infinity", "settled", "KXA-1-T1.5"],
        ["-0043-03-15T00:00:00Z", "settled", "KXA-1-T1.5"],
        ["03:00:00.000", "settled", "KXA-1-T1.5"],
    ]
    assert [text[:9] for text in error.splitlines()] == ["message 5", "message 6", "message 7",
                                                         "message 1"]  # fmt: skip
    assert "message 13: its bytes are in SECMASTER_DLQ" in error


def test_a_line_says_what_the_clock_did() -> None:
    row = {
        "event_type": "opened",
        "market_ticker": "KXA-1",
        "received_at": "2026-11-21T03:00:00.123456Z",
        "open_ts": "2026-11-21T03:00:00Z",
        "metadata": {"source": "clock"},
    }
    text = line(row).plain
    assert text.startswith("03:00:00.123  opened")
    assert text.endswith("by the clock")


def test_the_server_filters_by_type() -> None:
    assert filters(None) == ["cdc.market_lifecycle_events.insert.*.>"]
    assert filters("determined") == [
        "cdc.market_lifecycle_events.insert.determined.>",
        # Markers of rows that could not be read.
        "cdc.market_lifecycle_events.*._._",
    ]


async def test_status_names_what_is_wrong(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("INSERT INTO series (ticker) VALUES ('KXA')")
        await connection.execute(
            "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA')"
        )
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time)"
            " VALUES ('KXA-1-1', 'KXA-1', 'KXA', 'active', now() - interval '1 hour')"
        )
        await connection.execute(
            "INSERT INTO lifecycle_gaps (reason, began_at)"
            " VALUES ('closed', now() - interval '1 min')"
        )
        code, out, error = await ssmd("status", "--json", DATABASE_URL=database.url)
        found = json.loads(out)
        assert code == 1, error
        assert len(found["problems"]) == 3
        assert found["overdue"] == 1

        await connection.execute("UPDATE markets SET status = 'closed'")
        await connection.execute("UPDATE lifecycle_gaps SET repaired_at = now(), changed = 3")
        await connection.execute("SELECT pg_advisory_lock(%s, %s)", lock_key("lifecycle"))
        await connection.execute(
            "INSERT INTO market_lifecycle_events (event_type, metadata, dedupe_key)"
            " VALUES ('settled', '{}', 'a'), ('opened', '{\"source\": \"clock\"}', 'b')"
        )
        code, out, error = await ssmd("status", "--json", DATABASE_URL=database.url)
        found = json.loads(out)
        assert (code, found["problems"]) == (0, []), error
        assert found["has_leader"]
        assert found["last_hour"] == {"opened": 1, "settled": 1}
        age = datetime.now(UTC) - datetime.fromisoformat(found["last_message_at"])
        assert age.total_seconds() < 60
        code, out, error = await ssmd("status", DATABASE_URL=database.url)
        assert code == 0
        assert "repaired, 3 changed" in out
