"""Reading SECMASTER_CDC for `ssmd cdc tail`."""

import contextlib
import sys
from collections.abc import AsyncGenerator

from nats.aio.client import Client

from ssmd_cli import following, output
from ssmd_cli.changes import Filter, line
from ssmd_cli.console import Terminal
from ssmd_cli.since import Start
from ssmd_common.connections import nats as connections
from ssmd_common.settings import NatsSettings
from ssmd_stream import subjects
from ssmd_stream.change import Change, decode
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.stream import Stream


async def tail(
    settings: NatsSettings, wanted: Filter, start: Start, *, limit: int | None, as_json: bool
) -> None:
    """Print messages until `limit` are, or for ever.

    Raises:
        NoStream: the stream is not there.
    """
    filters = wanted.subjects()
    client = await connections.connect(settings, "ssmd-cdc-tail", budget_seconds=5, service="api")
    console = Terminal(soft_wrap=True)
    shown = 0
    try:
        async with contextlib.aclosing(follow(client, filters, start)) as followed:
            async for message in followed:
                change = read(message)
                if change is None:
                    continue
                if wanted.type and message.headers.get("Ssmd-Type") != wanted.type:
                    continue
                if as_json:
                    sys.stdout.write(message.payload.decode().replace("\n", " ") + "\n")
                    sys.stdout.flush()
                else:
                    console.print(line(change))
                shown += 1
                if shown == limit:
                    return
    finally:
        await connections.close(client)


def read(message: Delivery) -> Change | None:
    """The change of a message. None if it cannot be read, which is said on stderr."""
    try:
        return decode(message.payload)
    except UnreadableMessage as error:
        place = f"message {message.sequence} ({message.subject})"
        output.note(f"{place} is passed over as unreadable: {error}")
        return None


def follow(client: Client, filters: list[str], start: Start) -> AsyncGenerator[Delivery, None]:
    """The change stream's messages of these subjects, as `following.follow` has them."""
    wanted = [] if filters == [subjects.SUBJECTS] else filters
    return following.follow(Stream(client), wanted, start, maker="cdc")
