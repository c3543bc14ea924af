"""How far the publisher is, seen from outside: for `ssmd cdc status`."""

import asyncio
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg
from nats.aio.client import Client
from psycopg.rows import dict_row

from ssmd_cdc.control import queries
from ssmd_cdc.publish.stream import Streams
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections import postgres
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_stream import subjects
from ssmd_stream.change import parse_lsn
from ssmd_stream.errors import ApiError, MayNot, StreamUnavailable

STILL_SECONDS: Final = 10.0
"""Longer than the feedback, the heartbeat and an acknowledgement together when all is well."""

_LOOK_SECONDS: Final = 0.25


class Slot(msgspec.Struct, frozen=True):
    """The slot as PostgreSQL sees it; `safe_bytes` is None without a limit on retained WAL.

    `lag_seconds` is what the server measured between writing WAL and our confirming it, so up to
    the feedback's interval when all is well; None when nobody streams. The server measures nothing
    while nothing is confirmed: `still_seconds` is how long it was watched to stand still, with WAL
    waiting.
    """

    name: str
    active: bool
    wal_status: str | None
    confirmed_lsn: str | None
    lag_bytes: int
    retained_bytes: int
    safe_bytes: int | None
    lag_seconds: float | None
    wal_lsn: str = "0/0"
    still_seconds: float = 0.0


class Memory(msgspec.Struct, frozen=True):
    """The row of `cdc_state`."""

    epoch: int
    stream_sequence: int
    lsn: str
    seq: int
    announcing: bool
    updated_at: datetime


class StreamState(msgspec.Struct, frozen=True):
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    max_bytes: int
    max_age_seconds: float
    tail: str | None
    dead_letters: int


class Overview(msgspec.Struct, frozen=True):
    """`problems` says in words what is not as it should be; empty when all is well.

    `stuck`: what is committed does not get to the stream.
    """

    slot: Slot | None
    memory: Memory | None
    stream: StreamState | None
    problems: list[str]
    stuck: bool = False


async def overview(settings: CdcSettings, client: Client) -> Overview:
    """Look at the slot, the memory and the stream, for up to ten seconds if they stand still.

    Raises:
        UpstreamUnavailable: PostgreSQL or JetStream does not answer.
    """
    streams = Streams(client, settings)
    async with await postgres.connect(
        settings.database_url,
        "ssmd-cdc-status",
        budget_seconds=settings.startup_budget_seconds,
    ) as connection:
        slot = await _watched(connection, settings, streams)
        memory = await _row(connection, "state_overview", settings)
    try:
        stream = await _stream(streams)
    except MayNot as error:
        raise ConfigurationError(str(error)) from error
    except StreamUnavailable as error:
        raise UpstreamUnavailable(
            f"NATS does not tell of its streams ({error}): check that it runs with JetStream"
        ) from error
    found = Overview(
        slot,
        msgspec.convert(memory, Memory) if memory else None,
        stream,
        [],
    )
    stuck = slot is not None and slot.still_seconds > 0
    return msgspec.structs.replace(found, problems=_problems(found, settings), stuck=stuck)


async def _watched(
    connection: psycopg.AsyncConnection[Any], settings: CdcSettings, streams: Streams
) -> Slot | None:
    """The slot, once it has confirmed what was written by now, moves on, or stood still for long.

    A large transaction is confirmed only at its end: until then the stream grows.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    first: Slot | None = None
    length = await _length(streams)
    while True:
        row = await _row(connection, "slot_overview", settings)
        slot = msgspec.convert(row, Slot) if row else None
        if slot is None or slot.confirmed_lsn is None or not slot.active:
            return slot
        first = first or slot
        confirmed = parse_lsn(slot.confirmed_lsn)
        if confirmed >= parse_lsn(first.wal_lsn) or slot.confirmed_lsn != first.confirmed_lsn:
            return slot
        if await _length(streams) != length:
            return slot
        still = loop.time() - began
        if still >= STILL_SECONDS:
            lag = max(still, slot.lag_seconds or 0.0)
            return msgspec.structs.replace(slot, still_seconds=still, lag_seconds=lag)
        await asyncio.sleep(_LOOK_SECONDS)


async def _length(streams: Streams) -> int | None:
    try:
        return (await streams.changes.info()).last_sequence
    except StreamUnavailable:
        return None


def _problems(found: Overview, settings: CdcSettings) -> list[str]:
    slot, memory, stream = found.slot, found.memory, found.stream
    problems = []
    if slot is None:
        problems.append(f"the slot {settings.cdc_slot} is missing: cdc makes it when it starts")
    elif slot.wal_status == "lost":
        problems.append("the slot is lost: cdc begins a new epoch when it starts")
    elif not slot.active:
        problems.append("nobody streams from the slot: start cdc")
    if slot and slot.lag_bytes > settings.cdc_ready_lag_bytes:
        problems.append(f"the slot is {slot.lag_bytes} bytes behind the WAL")
    if slot and slot.still_seconds:
        problems.append(
            f"nothing was published or confirmed for {slot.still_seconds:.0f} s, with "
            f"{slot.lag_bytes} bytes of WAL waiting: look at cdc's log or /readyz, then at NATS"
        )
    if memory and memory.announcing:
        problems.append(f"epoch {memory.epoch} is still being announced")
    if stream is None:
        problems.append(f"the stream {subjects.STREAM} is missing: cdc makes it when it starts")
    elif stream.dead_letters:
        problems.append(f"{stream.dead_letters} messages are in {subjects.DEAD_LETTER_STREAM}")
    return problems


async def _row(
    connection: psycopg.AsyncConnection[Any], name: str, settings: CdcSettings
) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(getattr(queries, name), {"slot": settings.cdc_slot})
        return await cursor.fetchone()


async def _stream(streams: Streams) -> StreamState | None:
    try:
        info = await streams.changes.info()
        look = await streams.look()
    except ApiError:
        return None
    try:
        dead = (await streams.dead_letters.info()).messages
    except ApiError:
        dead = 0
    return StreamState(
        messages=info.messages,
        bytes=info.bytes,
        first_sequence=info.first_sequence,
        last_sequence=info.last_sequence,
        max_bytes=int(info.configuration["max_bytes"]),
        max_age_seconds=int(info.configuration.get("max_age", 0)) / 1e9,
        tail=str(look.tail.position) if look.tail and look.tail.position else None,
        dead_letters=dead,
    )
