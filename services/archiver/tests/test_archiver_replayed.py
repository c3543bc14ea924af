"""A replayed day equals the day: what the streams had, byte for byte, with subjects and ids."""

import random
from typing import Any

import made_archive
from made_market_data import Maker, make_streams, publish
from nats.js.api import ConsumerConfig

from ssmd_client import replay
from ssmd_stream.subjects import STREAM, subject, table_subject

from .conftest import World
from .test_archiver_streams import sealed


async def held(world: World, stream: str) -> list[tuple[Any, ...]]:
    """What a stream has: sequence, subject, id, payload, when it was stored."""
    count = (await world.js.stream_info(stream)).state.messages
    subscription = await world.js.pull_subscribe(
        "", stream=stream, config=ConsumerConfig(ack_policy="none", filter_subject=">")
    )
    found: list[tuple[Any, ...]] = []
    while len(found) < count:
        for message in await subscription.fetch(500, timeout=60):
            place = message.metadata
            found.append(
                (
                    place.sequence.stream,
                    message.subject,
                    (message.headers or {}).get("Nats-Msg-Id"),
                    message.data,
                )
            )
    return found


def changes() -> list[tuple[str, str, bytes]]:
    """Subjects, ids and payloads as cdc publishes them, and one that nobody of ours did."""
    source = made_archive.Source(random.Random(23))
    source.play(20)
    source.publish()
    source.announce()
    found = []
    for message in source.messages:
        said = made_archive.json.loads(message.payload) if message.payload[:3] == b'{"v' else None
        if said is None:
            continue
        row = said["data"] or said.get("before")
        to = (
            table_subject(said["table"], said["op"])
            if row is None
            else subject(said["table"], said["op"], row)
        )
        found.append((to, f"{said['epoch']}:{said['lsn']}:{said['seq']}", message.payload))
    return found


async def test_a_replayed_day_equals_the_day(world: World) -> None:
    maker, book = Maker("s"), Maker("b")
    async with world.archiver() as archiver:
        await archiver.ready()
        await make_streams(world.nats, shards=1)
        said = [maker.record("opened")]
        said += [maker.trade(f"KX{n % 3}-1.5", known=n % 4 > 0) for n in range(30)]  # type: ignore[misc]
        said += [maker.ticker("KXÄ-1", yes_bid="0.4000"), maker.record("count")]  # type: ignore[list-item]
        await publish(world.nats, *said)
        await world.js.publish("md.trade.A.B.C", b"not json \xff")
        await publish(
            world.nats,
            book.record("opened"),
            book.snapshot("KXA-1", [("0.4000", "1.00")], []),
            book.delta("KXA-1", "yes", "0.4000", "1.00"),
            shard=0,
        )
        stored = 0
        for to, identity, payload in changes():
            await world.js.publish(to, payload, headers={"Nats-Msg-Id": identity})
            stored += 1
        await sealed(world, "MARKET_DATA", len(said) + 1)
        await sealed(world, "MARKET_BOOKS_0", 3)
        await sealed(world, STREAM, stored)
        whole = {
            name: await held(world, name) for name in ("MARKET_DATA", "MARKET_BOOKS_0", STREAM)
        }
    items = [item async for item in replay(world.root)]
    for name, messages in whole.items():
        found = [
            (item.sequence, item.subject, item.id, item.payload)  # type: ignore[union-attr]
            for item in items
            if item.stream == name
        ]
        assert found == messages
    assert len(items) == sum(map(len, whole.values()))
    moments = [item.stored_at_ns for item in items]  # type: ignore[union-attr]
    assert moments == sorted(moments)
