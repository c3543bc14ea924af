"""Reading SECMASTER_CDC many messages at a time: one request, not one for each."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg

from ssmd_common.deadlines import answered_within
from ssmd_stream import subjects

Ask: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Makes a request of JetStream's API."""

Read: TypeAlias = Callable[[int], Awaitable[list[Msg]]]

_READ_SECONDS: Final = 5.0
_KEPT_NS: Final = 60 * 1_000_000_000
"""The server forgets a reader that is away for so long."""


@asynccontextmanager
async def reading(client: Client, ask: Ask, first: int) -> AsyncIterator[Read]:
    """Reads on from a sequence, so many at a time, headers only; nothing where nothing is.

    Reading raises nats-py's errors, or TimeoutError where the server does not answer.
    """
    made = await ask(
        f"CONSUMER.CREATE.{subjects.STREAM}",
        {
            "stream_name": subjects.STREAM,
            "config": {
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": max(1, first),
                "ack_policy": "none",
                "replay_policy": "instant",
                "headers_only": True,
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": _KEPT_NS,
            },
        },
    )
    name = made["name"]
    arrived: list[Msg] = []
    wanted, complete = 0, asyncio.Event()

    async def take(message: Msg) -> None:
        # What is no message is the server's word that there are no more.
        if message.reply:
            arrived.append(message)
        if not message.reply or len(arrived) >= wanted:
            complete.set()

    async def read(count: int) -> list[Msg]:
        nonlocal wanted
        wanted = count
        arrived.clear()
        complete.clear()
        request = json.dumps({"batch": count, "no_wait": True}).encode()
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{subjects.STREAM}.{name}", request, reply=inbox
        )
        async with answered_within(_READ_SECONDS):
            await complete.wait()
        return arrived.copy()

    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=take)
    try:
        yield read
    finally:
        await subscription.unsubscribe()
