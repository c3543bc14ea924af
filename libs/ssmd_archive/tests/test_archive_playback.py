"""A replay: everything once, in the order in which it was stored; what is missing is said."""

import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_market_data import Maker

from ssmd_archive.bounds import At
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import NoArchive
from ssmd_archive.layout import MARKET_DATA, Layout, books
from ssmd_archive.playback import Item, Lost, Played, Wanted, play, streams

from .archived_day import DAY, NEXT, Stored, a_day, archive, at, stored


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Stored]]]:
    """Two streams over two days, one with a hole of two messages."""
    root = tmp_path_factory.mktemp("archive")
    maker, book = Maker(), Maker("b1")
    market = stored([*a_day(maker), None, None, maker.trade("KXA-1", at=at(1, NEXT))])
    added = {"of_channel": "orderbook_delta", "tickers": ("KXA-1",)}
    said = [book.record("added", at=at(1), **added)]
    for number in range(30):
        book.now = at(1) + timedelta(seconds=70 * number)
        said.append(book.delta("KXA-1", "yes", "0.4000", "1.00"))  # type: ignore[arg-type]
    archive(root, market)
    archive(root, stored(said, shard=0), books(0))
    return root, {"MARKET_DATA": market, "MARKET_BOOKS_0": stored(said, shard=0)}


def archives(root: Path, *layouts: Layout) -> list[Archive]:
    return [Archive(root, layout) for layout in layouts or streams(root)]


def played(items: list[Item]) -> list[Played]:
    return [item for item in items if isinstance(item, Played)]


def lost(items: list[Item]) -> list[tuple[str, int, int]]:
    return [(item.kind, item.from_seq, item.to_seq) for item in items if isinstance(item, Lost)]


def test_each_message_comes_once_as_it_was_stored(
    made: tuple[Path, dict[str, list[Stored]]],
) -> None:
    root, said = made
    items = list(play(archives(root)))
    found = played(items)
    for stream, messages in said.items():
        assert [
            Stored(one.sequence, one.subject or "", one.payload, one.stored_at_ns)
            for one in found
            if one.stream == stream
        ] == messages
    times = [one.stored_at_ns for one in found]
    assert times == sorted(times)
    assert {one.stream for one in found[:6]} == set(said)
    assert found[0].id is not None
    assert lost(items) == [("hole", 83, 84)]
    # In its place: behind the last message before it.
    at_hole = next(number for number, item in enumerate(items) if isinstance(item, Lost))
    assert [item.sequence for item in played(items[at_hole:]) if item.stream == "MARKET_DATA"] == [
        85
    ]


def test_a_span_a_channel_a_series_a_market(made: tuple[Path, dict[str, list[Stored]]]) -> None:
    root, said = made

    def some(
        since: datetime | None = None, until: datetime | None = None, **wanted: object
    ) -> list[Item]:
        return list(
            play(
                archives(root),
                since and At.of(since),
                until and At.of(until),
                Wanted(**wanted),  # type: ignore[arg-type] # the test's own words
            )
        )

    inside = played(some(at(1.25), at(1.5)))
    every = [one for messages in said.values() for one in messages]
    begin, end = At.of(at(1.25)).ns, At.of(at(1.5)).ns
    assert len(inside) == sum(begin <= one.stored_at_ns < end for one in every) > 0
    assert not lost(some(at(1.25), at(1.5)))
    assert lost(some(at(1.9))) == [("hole", 83, 84)]
    assert lost(some(at(2, NEXT))) == []
    assert {one.folder for one in played(some(folders=frozenset({"trade"})))} == {"trade"}
    about = played(some(ticker="KXB-1"))
    assert {one.subject.split(".")[-1] for one in about if one.subject} == {"KXB-1"}
    # Also those whose series the secmaster did not know yet.
    assert len(about) == sum(b'"ticker":"KXB-1"' in one.payload for one in every)
    assert len(played(some(series="KXB"))) == len(about)
    assert played(some(series="KX")) == []


def test_a_damaged_file_costs_itself(
    made: tuple[Path, dict[str, list[Stored]]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(made[0], tmp_path / "archive"))
    whole = played(list(play(archives(root))))
    folder = root / "MARKET_DATA" / "2026-02-03" / "trade"
    changed, gone, *_ = sorted(folder.iterdir())
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    gone.unlink()
    items = list(play(archives(root)))
    broken = [item for item in items if isinstance(item, Lost) and item.kind == "damaged"]
    assert [("is not as it was sealed" in one.why, one.folder) for one in broken] == [
        (True, "trade"), (False, "trade"),
    ]  # fmt: skip
    assert "is not there" in broken[1].why
    left = played(items)
    missing = [one for one in whole if one not in left]
    assert len(left) + len(missing) == len(whole)
    assert len(missing) == sum(one.messages for one in broken) > 0
    assert {one.folder for one in missing} == {"trade"}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_where_the_clock_goes_back_the_streams_order_stays(seed: int) -> None:
    """Of two streams whose servers' clocks jump: each its own order, and no message twice."""
    from tempfile import TemporaryDirectory

    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for layout, shard in ((MARKET_DATA, None), (books(0), 0)):
            maker = Maker()
            messages = [
                maker.record("count", at=DAY + timedelta(seconds=chance.randrange(3000)))
                for _ in range(chance.randrange(1, 20))
            ]
            archive(root, stored(messages, shard=shard), layout)
        found = played(list(play(archives(root))))
        for layout in (MARKET_DATA, books(0)):
            sequences = [one.sequence for one in found if one.layout == layout]
            assert sequences == list(range(1, len(sequences) + 1))
        half = At.of(DAY + timedelta(seconds=1500))
        parts = [*play(archives(root), None, half), *play(archives(root), half)]
        assert sorted(one.payload for one in played(parts)) == sorted(one.payload for one in found)


def test_there_must_be_an_archive(tmp_path: Path) -> None:
    with pytest.raises(NoArchive):
        streams(tmp_path)
