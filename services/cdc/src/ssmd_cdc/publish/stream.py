"""SECMASTER_CDC and SECMASTER_DLQ on the server: their configuration, and where the stream ends."""

import base64
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client

from ssmd_cdc.epoch import State, Stream, Tail
from ssmd_cdc.errors import MayNot, StreamRefused, without_jetstream
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections.nats_rights import Denied, NatsClient
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import UpstreamUnavailable
from ssmd_stream import subjects
from ssmd_stream.change import Position
from ssmd_stream.errors import ReaderBroken, StreamGap
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream as ChangeStream

log = structlog.get_logger(__name__)

_OLDEST_SERVER: Final = (2, 10)
_OLDEST_ATOMIC: Final = (2, 12)
_NOT_FOUND: Final = (10059, 10037)
_NO_STORAGE: Final = 10047
_READ_SECONDS: Final = 5.0
_BATCH: Final = 1000
_WAIT_SECONDS: Final = 0.5
_SECOND_NS: Final = 1_000_000_000
_DUPLICATES_SECONDS: Final = 120

_LINE = re.compile(r"^Nats-Msg-Id:\s*(\S+)\s*$", re.MULTILINE | re.IGNORECASE)


class StreamUnavailable(Exception):
    """NATS did not answer, or answered that JetStream is not ready; trying again may help."""


class ApiError(Exception):
    """JetStream refused a request."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("description", error)))
        self.code = int(error.get("err_code", 0))
        self.status = int(error.get("code", 0))

    @property
    def temporary(self) -> bool:
        return self.status in (500, 503)


class _TailMessage(msgspec.Struct):
    op: str
    xid: int | None
    final: bool = False


class Streams:
    """JetStream's requests, over a client that reconnects by itself."""

    def __init__(self, client: Client, settings: CdcSettings) -> None:
        self._client = client
        self._settings = settings

    async def ensure(self) -> None:
        """Create both streams, or update them to the settings, and read them back.

        Raises:
            StreamRefused: the server is too old, or keeps another configuration than it was given.
            StreamUnavailable: no answer.
            MayNot: the user lacks a right.
        """
        version = self._client.connected_server_version
        if (version.major, version.minor) < _OLDEST_SERVER:
            raise StreamRefused(
                f"the NATS server is version {version.major}.{version.minor}: cdc needs 2.10 or "
                "newer, since older ones ignore settings of the stream in silence"
            )
        if self._settings.cdc_durable and (version.major, version.minor) < _OLDEST_ATOMIC:
            raise StreamRefused(
                f"the NATS server is version {version.major}.{version.minor}, which has no atomic "
                "batches: set CDC_DURABLE to false, or update it to 2.12 or newer"
            )
        await self._ensure_one(stream_configuration(self._settings))
        await self._ensure_one(dead_letter_configuration(self._settings))

    async def look(self) -> Stream:
        """Where the stream ends, now."""
        info = await self.info(subjects.STREAM)
        state = info["state"]
        tail = await self._last_message() if state["messages"] else None
        # A message may have come since: what is told must be of one moment.
        last = max(int(state["last_seq"]), tail.sequence if tail else 0)
        return Stream(str(info["created"]), last, tail)

    async def info(self, name: str) -> dict[str, Any]:
        """STREAM.INFO of one stream, as the server gives it."""
        return await self._request(f"STREAM.INFO.{name}", {})

    async def mixed_since(self, state: State, stream: Stream) -> bool:
        """Whether some of the messages since what is remembered are not ours, or not in order.

        Each of them may stand in the place of one of ours that was refused, although the tail is
        ours.
        """
        before = Position(0, 0, 0)
        between = self.positions(state.stream_sequence + 1, stream.last_sequence)
        async with aclosing(between) as positions:
            async for position in positions:
                if position is None or position <= before:
                    return True
                before = position
        return False

    async def positions(self, first: int, last: int) -> AsyncGenerator[Position | None]:
        """The identities of the messages in this range of sequences that are still there.

        None stands for a message without one, which is not ours.
        """
        stream, seen = ChangeStream(self._client), first - 1
        while seen < last:
            before = seen
            try:
                async with reading(stream, seen + 1, headers_only=True) as reader:
                    while seen < last:
                        for message in await reader.batch(_BATCH, _WAIT_SECONDS):
                            seen = message.sequence
                            if seen <= last:
                                yield _position(message.headers.get("Nats-Msg-Id"))
            except StreamGap as gap:
                if gap.lost is None:
                    return  # The stream was made anew.
                seen = gap.lost.stop - 1
            except ReaderBroken as error:
                self._raise_if_denied(error)
                # Messages in between were deleted: a new reader begins with what is there.
                if seen == before:
                    raise StreamUnavailable(str(error)) from error
            except (UpstreamUnavailable, nats.errors.Error, OSError) as error:
                self._raise_if_denied(error)
                raise StreamUnavailable(str(error) or type(error).__name__) from error

    def _raise_if_denied(self, error: Exception) -> None:
        if isinstance(self._client, NatsClient) and self._client.denied:
            raise MayNot(self._client.denied) from error

    async def _last_message(self) -> Tail | None:
        try:
            found = await self._request(
                f"STREAM.MSG.GET.{subjects.STREAM}", {"last_by_subj": subjects.SUBJECTS}
            )
        except ApiError as error:
            if error.code in _NOT_FOUND:
                return None
            raise
        message = found["message"]
        headers = base64.b64decode(message.get("hdrs", "")).decode(errors="replace")
        line = _LINE.search(headers)
        position = _position(line[1] if line else None)
        try:
            body = msgspec.json.decode(base64.b64decode(message["data"]), type=_TailMessage)
        except (ValueError, KeyError, msgspec.MsgspecError):
            return Tail(int(message["seq"]), None, False)  # Not ours.
        of_snapshot = body.op in ("snapshot_begin", "snapshot_end") or (
            body.op == "insert" and body.xid is None
        )
        return Tail(int(message["seq"]), position, of_snapshot and not body.final)

    async def _ensure_one(self, wanted: dict[str, Any]) -> None:
        name = wanted["name"]
        try:
            found = (await self.info(name))["config"]
        except ApiError as error:
            if error.code != 10059:
                raise
            await self._change("CREATE", wanted)
            log.info("stream created", stream=name)
        else:
            if not (differing := differences(found, wanted)):
                return
            await self._change("UPDATE", {**found, **wanted})
            log.info("stream updated", stream=name, settings=sorted(differing))
        kept = (await self.info(name))["config"]
        if left := differences(kept, wanted):
            raise StreamRefused(
                f"NATS keeps other settings of the stream {name} than it was given "
                f"({', '.join(sorted(left))}): update the server, or change the settings of cdc"
            )

    async def _change(self, verb: str, wanted: dict[str, Any]) -> None:
        try:
            await self._request(f"STREAM.{verb}.{wanted['name']}", wanted)
        except ApiError as error:
            # 500 is also said of a change that can never be made, such as another kind of storage.
            if error.status == 503:
                raise StreamUnavailable(without_jetstream(str(error))) from error
            if error.code == _NO_STORAGE:
                raise StreamRefused(
                    f"NATS has no room for {wanted['max_bytes']} bytes of the stream "
                    f"{wanted['name']} ({error}): lower CDC_STREAM_MAX_BYTES, or give JetStream a "
                    "larger disk, max_file_store or account limit"
                ) from error
            raise StreamRefused(
                f"NATS refuses the stream {wanted['name']} ({error}): change the settings of cdc "
                "or of the server"
            ) from error

    async def _request(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with answered_within(_READ_SECONDS):
                # Its own limit, by the clock, is not to be the first.
                reply = await self._client.request(
                    f"$JS.API.{what}", json.dumps(body).encode() if body else b"", timeout=120
                )
        except Denied as error:
            raise MayNot(str(error)) from error
        except nats.errors.NoRespondersError as error:
            raise StreamUnavailable(without_jetstream(str(error))) from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            text = str(error) or type(error).__name__
            raise StreamUnavailable(f"NATS does not answer: {text}") from error
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise ApiError(answer["error"])
        return answer


def _position(identity: str | None) -> Position | None:
    try:
        return Position.parse(identity) if identity else None
    except ValueError:
        return None


def stream_configuration(settings: CdcSettings) -> dict[str, Any]:
    """What SECMASTER_CDC must be."""
    wanted: dict[str, Any] = {
        "name": subjects.STREAM,
        "description": "Every committed change of the security master, once and in order.",
        "subjects": [subjects.SUBJECTS],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "compression": "s2",
        "max_age": settings.cdc_stream_max_age_seconds * _SECOND_NS,
        "max_bytes": settings.cdc_stream_max_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "num_replicas": settings.cdc_stream_replicas,
        # The sequence chain keeps a message from being stored twice; this is only its second lock,
        # and the server pays for every message in it.
        "duplicate_window": _SECOND_NS,
        "deny_delete": False,
        "republish": None,
    }
    if settings.cdc_durable:
        wanted["allow_atomic"] = True
    if settings.cdc_republish:
        wanted["republish"] = {"src": subjects.SUBJECTS, "dest": f"{settings.cdc_republish}.>"}
    return wanted


def dead_letter_configuration(settings: CdcSettings) -> dict[str, Any]:
    """What SECMASTER_DLQ must be."""
    max_age = settings.cdc_stream_max_age_seconds
    return {
        "name": subjects.DEAD_LETTER_STREAM,
        "description": "The bytes of changes that SECMASTER_CDC could not carry.",
        "subjects": [subjects.DEAD_LETTER_SUBJECTS],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "max_age": max_age * _SECOND_NS,
        # The server's own choice for a new stream. It keeps that when the age is lowered, and then
        # refuses the age.
        "duplicate_window": min(max_age or _DUPLICATES_SECONDS, _DUPLICATES_SECONDS) * _SECOND_NS,
        "max_bytes": max(1 << 20, settings.cdc_stream_max_bytes // 8),
        "num_replicas": settings.cdc_stream_replicas,
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[str]:
    """The settings that are not as wanted; what we do not ask for is the server's to choose."""
    return {name for name, value in wanted.items() if not _same(found.get(name), value)}


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return not differences(found, wanted)
    return (found or None) == (wanted or None)
