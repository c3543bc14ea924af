"""Market data beside the change stream: same files, same chain, whenever its streams come."""

import archived
import pytest
from made_market_data import Maker, make_streams, publish

from ssmd_archive.catalog import Archive
from ssmd_archive.layout import MARKET_DATA, books
from ssmd_archive.verify import verify
from ssmd_archiver.settings import ArchiverSettings
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import load

from .conftest import World, eventually


async def sealed(world: World, stream: str, messages: int) -> None:
    """Wait until the manifest accounts for so many."""

    def reached() -> int:
        return archived.reached(world.root / stream)

    async def there() -> bool:
        return reached() >= messages

    await eventually(there, lambda: f"{reached()} of {messages} of {stream}")


async def test_streams_are_archived_by_channel_whenever_they_come(world: World) -> None:
    maker, book = Maker("s"), Maker("b")
    async with world.archiver() as archiver:
        # It is ready though nobody captures market data.
        await archiver.ready()
        await world.publish(5)
        await make_streams(world.nats, shards=2)
        said = [
            maker.record("opened"), maker.trade("KXA-1.5"), maker.trade("KXB-1", known=False),
            maker.ticker("KXA-1.5", yes_bid="0.4000"), maker.record("count"),
        ]  # fmt: skip
        await publish(world.nats, *said)
        await world.js.publish("md.trade.A.B.C", b"not json")
        books_said = [
            book.record("opened"),
            book.snapshot("KXA-1.5", [("0.4000", "1.00")], []),
            book.delta("KXA-1.5", "yes", "0.4000", "1.00"),
        ]
        await publish(world.nats, *books_said, shard=0)
        await publish(world.nats, *books_said[:2], shard=1)
        await sealed(world, "MARKET_DATA", 6)
        await sealed(world, "MARKET_BOOKS_0", 3)
        await sealed(world, "MARKET_BOOKS_1", 2)
        await world.caught_up()
        position = archiver.health.position
        assert position["sequence"] == 5
        assert position["MARKET_DATA"] == {"sequence": 6, "sealed_sequence": 6}
    found = archived.read(world.root / "MARKET_DATA")
    assert len(found.messages) == 6
    assert not found.missing
    folders = {path.parent.name for path in world.root.rglob("*.jsonl.gz")}
    assert folders >= {"trade", "ticker", "session", "_other", "book", "books_session", "markets"}
    [counts] = [line["counts"] for line in found.lines if line["what"] == "segment"][:1]
    assert set(counts) <= {"trade", "ticker", "session", "_other"}
    for layout in (MARKET_DATA, books(0), books(1)):
        report = verify(Archive(world.root, layout), deep=True)
        assert not report.findings
        assert report.messages
    assert not [line for line in found.lines if line["what"] == "state"]


async def test_a_stream_that_goes_is_said_and_its_successor_archived(world: World) -> None:
    await make_streams(world.nats)
    maker = Maker()
    await publish(world.nats, *(maker.trade("KXA-1") for _ in range(10)))
    async with world.archiver() as archiver:
        await sealed(world, "MARKET_DATA", 10)
        await archiver.ready()
        await world.js.delete_stream("MARKET_DATA")

        async def told() -> bool:
            return "stream_MARKET_DATA" in archiver.health.degraded

        await eventually(told, lambda: f"{archiver.health.document()}")
        assert archiver.health.ready
        await make_streams(world.nats)
        await publish(world.nats, maker.trade("KXA-1"))

        async def again() -> bool:
            return "stream_MARKET_DATA" not in archiver.health.degraded

        await eventually(again, lambda: f"{archiver.health.document()}")
    found = archived.read(world.root / "MARKET_DATA", whole=False)
    assert {chain for chain, _ in found.messages} >= {1}
    assert len([place for place in found.messages if place[0] == 1]) == 10


async def test_only_what_is_named_is_archived(world: World) -> None:
    await make_streams(world.nats)
    await publish(world.nats, Maker().trade("KXA-1"))
    await world.publish(3)
    async with world.archiver(archiver_streams="MARKET_DATA") as archiver:
        await sealed(world, "MARKET_DATA", 1)
        await archiver.ready()
    assert not world.stream.exists()


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ("SECMASTER_CDC,KV_x", "'KV_x' is no stream of ours"),
        ("MARKET_BOOKS_01", "is no stream of ours"),
        (" , ", "name at least one stream"),
        ("MARKET_DATA,MARKET_DATA", "none twice"),
        ("MARKET_BOOKS_*,MARKET_BOOKS_3", "leave the others out"),
    ],
)
def test_streams_that_are_none_are_refused(
    streams: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://x/y")
    monkeypatch.setenv("ARCHIVER_STREAMS", streams)
    with pytest.raises(ConfigurationError, match="ARCHIVER_STREAMS") as raised:
        load(ArchiverSettings)
    assert said in str(raised.value)
