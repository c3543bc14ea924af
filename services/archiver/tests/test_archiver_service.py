"""The archive is what the stream said, whatever happens to either."""

import json

import msgspec

from ssmd_archive import manifest
from ssmd_archive import writer as writers
from ssmd_stream.subjects import STREAM

from .conftest import World, eventually


async def test_the_archive_is_what_the_stream_said(world: World) -> None:
    for table in ("markets", "events", "series", "fees"):
        await world.publish(50, table)
    await world.put("cdc.unknown.insert.A", b'{"a":1}')
    await world.put("cdc.markets.update.A", b"\xff\n")
    await world.put("cdc.markets.update.A", b"{}")
    async with world.archiver() as archiver:
        await archiver.ready()
        await world.publish(200)
        found = await world.settled()
        # A window that is over is sealed though nothing new comes.
        assert not [p for p in world.stream.rglob("*.part") if "state" not in p.parts]
    assert found.messages == world.published
    assert not found.missing
    folders = {path.parent.name for path in world.stream.rglob("*.jsonl.gz")}
    assert folders >= {"markets", "events", "series", "fees", "_other"}


async def test_that_there_is_no_stream_yet_is_waited_for_and_no_error(world: World) -> None:
    await world.js.delete_stream(STREAM)
    async with world.archiver() as archiver:

        async def waits() -> bool:
            return "does not exist yet" in archiver.health.conditions.get("nats", "")

        def told_as_error() -> bool:
            return "does not exist yet" in (archiver.health.last_error or "")

        await eventually(waits, lambda: f"{archiver.health.document()}")
        assert not told_as_error()
        await world.add_stream()
        await archiver.ready()
        await world.publish(3)
        assert (await world.settled()).messages == world.published
        assert not told_as_error()
        # One that was there, and is no more, is another matter.
        await world.js.delete_stream(STREAM)

        async def told() -> bool:
            return told_as_error()

        await eventually(told, lambda: f"{archiver.health.document()}")


async def test_what_was_not_sealed_is_continued(world: World) -> None:
    async with world.archiver(archiver_rotate_seconds=86_400) as archiver:
        await world.publish(30)
        await archiver.ready()
        await eventually(lambda: _has_part(world), lambda: "a .part")
    assert list(world.stream.rglob("*.jsonl.gz.part"))
    await world.publish(30, "events")
    async with world.archiver():
        found = await world.settled()
    assert found.messages == world.published
    assert all(path.stat().st_size for path in world.stream.rglob("*.gz"))


async def _has_part(world: World) -> bool:
    return any(path.stat().st_size for path in world.stream.rglob("*.jsonl.gz.part"))


async def test_what_was_purged_is_a_hole_and_no_file(world: World) -> None:
    for _ in range(100):
        await world.publish(1)
        await world.put("cdc.events.update.GONE", b'{"type":"x"}')
    await world.publish(1)
    await world.js.purge_stream(STREAM, subject="cdc.events.update.GONE")
    async with world.archiver():
        found = await world.settled()
    gone = {key for key in world.published if world.published[key] == b'{"type":"x"}'}
    assert found.missing == dict.fromkeys(gone, writers.LOST)
    assert found.messages.keys() == world.published.keys() - gone
    # As many as windows, however many holes there are.
    assert len(list(world.stream.rglob("markets/*"))) < 20


async def test_what_was_gone_before_it_was_read_has_expired(world: World) -> None:
    async with world.archiver():
        await world.publish(10)
        await world.settled()
    await world.publish(10)
    await world.js.purge_stream(STREAM, seq=16)
    async with world.archiver():
        await world.publish(1)
        found = await world.settled()
    assert found.missing == {(1, sequence): writers.EXPIRED for sequence in range(11, 16)}
    [expired] = [line for line in found.lines if line["what"] == "expired"]
    assert (expired["from_seq"], expired["to_seq"]) == (11, 15)


async def test_a_stream_that_is_emptied_loses_what_was_not_read(world: World) -> None:
    async with world.archiver():
        await world.publish(10)
        await world.settled()
    await world.publish(10)
    await world.js.purge_stream(STREAM)
    async with world.archiver() as archiver:
        await archiver.ready()
        await world.publish(1)
        found = await world.settled()
    assert sorted(found.missing) == [(1, sequence) for sequence in range(11, 21)]


async def test_a_stream_that_never_held_a_message_is_followed(world: World) -> None:
    async with world.archiver() as archiver:
        await archiver.ready()
        await world.publish(5)
        found = await world.settled()
    assert found.messages == world.published
    assert not found.missing


async def test_a_stream_that_is_made_anew_begins_a_chain(world: World) -> None:
    async with world.archiver():
        await world.publish(10)
        await world.settled()
        await world.recreate()
        await world.publish(5)
        await world.settled()
        await world.recreate()
        await world.publish(20)
        found = await world.settled()
    assert found.messages == world.published
    chains = [line for line in found.lines if line["what"] == "chain"]
    assert [line["chain"] for line in chains] == [1, 2, 3]
    assert [line["old"] and line["old"]["to_seq"] for line in chains] == [None, 10, 5]


async def test_a_stream_that_went_back_begins_a_chain(world: World) -> None:
    """Restored from a backup: its name and creation are the same, its messages are not."""
    async with world.archiver(archiver_rotate_seconds=86_400) as archiver:
        await world.publish(10)
        await archiver.ready()
        await eventually(lambda: _has_part(world), lambda: "a .part")
    before = dict(world.published)
    await world.recreate()
    created = (await world.js.stream_info(STREAM)).created
    assert created is not None
    world.published.clear()
    await world.publish(12)
    # As if it were the old one.
    _pretend_created(world, await _created(world))
    async with world.archiver():
        found = await world.settled()
    assert found.messages == before | world.published
    assert [line["chain"] for line in found.lines if line["what"] == "chain"] == [1, 2]


async def _created(world: World) -> str:
    reply = await world.nats.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")
    return str(json.loads(reply.data)["created"])


def _pretend_created(world: World, created: str) -> None:
    [path] = world.stream.glob("*/manifest.jsonl")
    [text] = path.read_bytes().splitlines()
    line = msgspec.structs.replace(manifest.decode(text), created=created)
    path.write_bytes(manifest.encode(line))


async def test_nats_may_go_and_come_back(world: World) -> None:
    async with world.archiver() as archiver:
        await world.publish(20)
        await archiver.ready()
        await world.nats_server.stop()
        await world.nats_server.start()
        await world.publish(20)
        found = await world.settled()
    assert found.messages == world.published


async def test_old_days_go_and_the_chain_says_so(world: World) -> None:
    async with world.archiver():
        await world.publish(5)
        await world.settled()
    # Two of them around midnight.
    old = [f"2026-01-0{number}" for number, _ in enumerate(world.stream.glob("*/"), 1)]
    for path, name in zip(sorted(world.stream.glob("*/")), old, strict=True):
        path.rename(path.parent / name)
    async with world.archiver(archiver_keep_days=1):
        await world.publish(5)
        await world.caught_up()
        await eventually(lambda: _are_gone(world, old), lambda: "the oldest days go")
    found = world.archive(whole=False)
    assert found.messages.keys() == {(1, sequence) for sequence in range(6, 11)}


async def _are_gone(world: World, days: list[str]) -> bool:
    return not any((world.stream / day).exists() for day in days)
