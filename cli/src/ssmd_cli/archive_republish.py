"""Archived messages to NATS again, below a subject that no live stream has.

A message's id is its place in the archive, `replay:<stream>:<chain>:<sequence>`: no publisher of
ours gives such ids, and a replay that is repeated within the duplicate window stores nothing twice.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import PubAck

from ssmd_archive import lines
from ssmd_archive.playback import Item, Lost, Played
from ssmd_cli import output
from ssmd_common.connections import nats as connections
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.settings import NatsSettings, load
from ssmd_common.words import counted

_SUBJECT: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_OURS: Final = ("cdc", "md", "secmaster", "dlq", "ssmd")
_IN_FLIGHT: Final = 500
_BUDGET_SECONDS: Final = 10.0


async def publish(items: AsyncIterator[Item], subject: str, tell: Callable[[Lost], None]) -> bool:
    """Publish all; whether nothing was missing.

    Raises:
        ConfigurationError: the subject is none, or of a live stream.
        UpstreamUnavailable: NATS does not answer, or a stream does not take a message.
    """
    if not _SUBJECT.fullmatch(subject) or subject.partition(".")[0] in _OURS:
        raise ConfigurationError(
            f"--to-nats {subject}: give words of letters and digits with dots between, of which "
            f"the first is none of {', '.join(_OURS)}: these are the live streams'"
        )
    client = await connections.connect(
        load(NatsSettings), "ssmd-archive-replay", budget_seconds=_BUDGET_SECONDS
    )
    try:
        stream = await _stream_of(client, subject)
        output.note(
            f"publishing below {subject}: "
            + (f"the stream {stream} stores it" if stream else "no stream takes it, to who listens")
        )
        return await _publish(client, items, subject, tell, is_stored=stream is not None)
    except (nats.errors.Error, TimeoutError) as error:
        raise UpstreamUnavailable(
            f"NATS does not take what is replayed ({first_line(error)})"
        ) from error
    finally:
        await connections.close(client)


async def _stream_of(client: Client, subject: str) -> str | None:
    """The stream that stores what is published below a subject; None where none does."""
    try:
        return str(await client.jetstream().find_stream_name_by_subject(f"{subject}.x"))
    except nats.js.errors.NotFoundError:
        return None


async def _publish(
    client: Client,
    items: AsyncIterator[Item],
    subject: str,
    tell: Callable[[Lost], None],
    *,
    is_stored: bool,
) -> bool:
    js = client.jetstream()
    is_complete = True
    waiting: list[asyncio.Future[PubAck]] = []
    published = 0
    async for item in items:
        if isinstance(item, Lost):
            is_complete = False
            tell(item)
            continue
        to, headers = f"{subject}.{item.subject or 'unknown'}", headers_of(item)
        if is_stored:
            waiting.append(await js.publish_async(to, item.payload, headers=headers))
        else:
            await client.publish(to, item.payload, headers=headers)
        published += 1
        if published % _IN_FLIGHT == 0:
            await _stored(client, waiting)
    await _stored(client, waiting)
    output.note(f"published: {counted(published, 'message')}")
    return is_complete


async def _stored(client: Client, waiting: list[asyncio.Future[PubAck]]) -> None:
    """All that was published is at the server, and in the stream where one takes it."""
    await asyncio.wait_for(asyncio.gather(*waiting), _BUDGET_SECONDS)
    waiting.clear()
    await client.flush()


def headers_of(message: Played) -> dict[str, str]:
    """Its own id, and where it stood."""
    place = f"{message.stream}:{message.chain}:{message.sequence}"
    headers = {
        "Nats-Msg-Id": f"replay:{place}",
        "Ssmd-Place": place,
        "Ssmd-Stored-At": lines.timestamp(message.stored_at_ns),
    }
    if (own := message.id) is not None:
        headers["Ssmd-Msg-Id"] = own
    return headers
