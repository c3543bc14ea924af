"""The change stream, as its publisher writes it and its readers over HTTP get it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api_testbed import Client
from nats.js.client import JetStreamContext

from ssmd_stream import subjects


async def publish(
    js: JetStreamContext, table: str, row: dict[str, Any], kind: str = "x", **more: Any
) -> int:
    """A change as the publisher sends it; its sequence."""
    info = await js.stream_info(subjects.STREAM)
    position = f"3:0/{info.state.last_seq + 1:X}:0"
    acknowledged = await js.publish(
        subjects.subject(table, "update", row),
        envelope(table, row, kind, **more),
        headers={"Nats-Msg-Id": position, "Ssmd-Type": kind},
    )
    return acknowledged.seq


def envelope(table: str, row: dict[str, Any] | None, kind: str = "x", **more: Any) -> bytes:
    """A message's content; whatever its place in the stream is."""
    change = {
        "v": 1,
        "lsn": "0/1",
        "seq": 0,
        "xid": 7,
        "epoch": 3,
        "table": table,
        "op": "update" if row else "truncate",
        "type": kind,
        "ticker": None,
        "key": None,
        "data": row,
        "timestamp": "2026-02-03T22:05:00Z",
    }
    return json.dumps({**change, **more}).encode()


@asynccontextmanager
async def listening(
    api: Client, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Server-sent events as dicts; comments aside."""
    async with api.http.get(
        f"{api.base}/v1/changes{query}", headers={"X-API-Key": api.key, **headers}
    ) as reply:
        assert reply.status == 200, await reply.text()
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        first = await reply.content.readline()
        assert first.startswith(b"retry:")

        async def events() -> AsyncIterator[dict[str, str]]:
            found: dict[str, str] = {}
            async for raw in reply.content:
                line = raw.decode().rstrip("\n")
                if not line and "data" in found:
                    yield found
                if not line:
                    found = {}
                elif not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    found[name] = value

        yield events()


async def take(events: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    async with asyncio.timeout(180):
        return [await anext(events) for _ in range(count)]
