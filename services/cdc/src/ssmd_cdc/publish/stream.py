"""SECMASTER_CDC and SECMASTER_DLQ: what they must be, and where the stream ends."""

from contextlib import aclosing
from typing import Any, Final

import msgspec
from nats.aio.client import Client

from ssmd_cdc.epoch import State, Tail
from ssmd_cdc.epoch import Stream as StreamEnd
from ssmd_cdc.settings import CdcSettings
from ssmd_stream import subjects
from ssmd_stream.administration import (
    PUBLISHED,
    SECOND_NS,
    configuration,
    ensure,
    require_server,
)
from ssmd_stream.change import Position
from ssmd_stream.publish.tail import identities
from ssmd_stream.stream import Stream

_DUPLICATES_SECONDS: Final = 120


class _TailMessage(msgspec.Struct):
    op: str
    xid: int | None
    final: bool = False


class Streams:
    """Both streams, over a client that reconnects by itself."""

    def __init__(self, client: Client, settings: CdcSettings) -> None:
        self.changes = Stream(client)
        self.dead_letters = Stream(client, subjects.DEAD_LETTER_STREAM)
        self._client = client
        self._settings = settings

    async def ensure(self) -> None:
        """Create both streams, or update them to the settings, and read them back.

        Raises:
            StreamRefused: the server is too old, or keeps another configuration than it was given.
            StreamUnavailable: no answer, or the user lacks a right (MayNot).
        """
        atomic = "CDC_DURABLE" if self._settings.cdc_durable else None
        require_server(self._client, "cdc", durable_setting=atomic)
        for stream, wanted in (
            (self.changes, stream_configuration(self._settings)),
            (self.dead_letters, dead_letter_configuration(self._settings)),
        ):
            await ensure(stream, wanted, service="cdc", size="CDC_STREAM_MAX_BYTES")

    async def look(self) -> StreamEnd:
        """Where the stream ends, now.

        Raises:
            StreamUnavailable: no answer, or the user lacks a right (MayNot).
        """
        info = await self.changes.info()
        tail = await self._tail() if info.messages else None
        # A message may have come since: what is told must be of one moment.
        return StreamEnd(info.created, max(info.last_sequence, tail.sequence if tail else 0), tail)

    async def mixed_since(self, state: State, stream: StreamEnd) -> bool:
        """Whether some of the messages since what is remembered are not ours, or not in order.

        Each of them may stand in the place of one of ours that was refused, although the tail is
        ours.
        """
        before = Position(0, 0, 0)
        between = identities(self.changes, state.stream_sequence + 1, stream.last_sequence)
        async with aclosing(between) as found:
            async for identity in found:
                position = _position(identity)
                if position is None or position <= before:
                    return True
                before = position
        return False

    async def _tail(self) -> Tail | None:
        message = await self.changes.last()
        if message is None:
            return None
        try:
            body = msgspec.json.decode(message.payload, type=_TailMessage)
        except (ValueError, msgspec.MsgspecError):
            return Tail(message.sequence, None, False)  # Not ours.
        of_snapshot = body.op in ("snapshot_begin", "snapshot_end") or (
            body.op == "insert" and body.xid is None
        )
        position = _position(message.headers.get("Nats-Msg-Id"))
        return Tail(message.sequence, position, of_snapshot and not body.final)


def _position(identity: str | None) -> Position | None:
    try:
        return Position.parse(identity) if identity else None
    except ValueError:
        return None


def stream_configuration(settings: CdcSettings) -> dict[str, Any]:
    """What SECMASTER_CDC must be."""
    more: dict[str, Any] = dict(PUBLISHED)
    if settings.cdc_durable:
        more["allow_atomic"] = True
    if settings.cdc_republish:
        more["republish"] = {"src": subjects.SUBJECTS, "dest": f"{settings.cdc_republish}.>"}
    return configuration(
        subjects.STREAM,
        "Every committed change of the security master, once and in order.",
        subjects.SUBJECTS,
        max_age_seconds=settings.cdc_stream_max_age_seconds,
        max_bytes=settings.cdc_stream_max_bytes,
        replicas=settings.cdc_stream_replicas,
        **more,
    )


def dead_letter_configuration(settings: CdcSettings) -> dict[str, Any]:
    """What SECMASTER_DLQ must be."""
    max_age = settings.cdc_stream_max_age_seconds
    return configuration(
        subjects.DEAD_LETTER_STREAM,
        "The bytes of changes that SECMASTER_CDC could not carry.",
        subjects.DEAD_LETTER_SUBJECTS,
        max_age_seconds=max_age,
        max_bytes=max(1 << 20, settings.cdc_stream_max_bytes // 8),
        replicas=settings.cdc_stream_replicas,
        # The server's own choice for a new stream. It keeps that when the age is lowered, and then
        # refuses the age.
        duplicate_window=min(max_age or _DUPLICATES_SECONDS, _DUPLICATES_SECONDS) * SECOND_NS,
    )
