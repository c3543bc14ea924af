"""`ssmd_client.replay`: an archive as an asynchronous iterator."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import made_archive
import psutil
import pytest

from ssmd_archive.errors import NoArchive
from ssmd_archive.playback import Lost, Played
from ssmd_client import Incomplete, replay


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of changes, a hole of two messages, two chains."""
    root = tmp_path_factory.mktemp("archive")
    made_archive.archive(root)
    return root


async def all_of(items: AsyncIterator[Played | Lost]) -> list[Played | Lost]:
    return [item async for item in items]


def blocking(root: Path) -> Path:
    """A file of the archive whose reader waits until somebody writes."""
    file = next(root.rglob("*.jsonl.gz"))
    file.unlink()
    os.mkfifo(file)
    return file


async def test_messages_and_what_is_missing_come_in_order(root: Path) -> None:
    items = await all_of(replay(root))
    assert [item.kind for item in items if isinstance(item, Lost)] == ["hole", "chain"]
    places = [(item.chain, item.sequence) for item in items if isinstance(item, Played)]
    assert places == sorted(places)
    assert len(places) == len(set(places)) > 80
    middle = datetime(2026, 11, 29, tzinfo=UTC)
    first, second = await all_of(replay(root, until=middle)), await all_of(replay(root, middle))
    assert [item for item in (*first, *second) if isinstance(item, Played)] == [
        item for item in items if isinstance(item, Played)
    ]
    markets = await all_of(replay(root, channels=["markets"], streams=["SECMASTER_CDC"]))
    assert {item.folder for item in markets if isinstance(item, Played)} == {"markets"}


async def test_strict_ends_at_what_is_missing(root: Path) -> None:
    seen = 0
    with pytest.raises(Incomplete, match="lacks 26 to 27 of chain 1") as raised:
        async for _ in replay(root, strict=True):
            seen += 1
    assert seen == 25
    assert raised.value.lost.messages == 2


async def test_what_cannot_be_meant_is_refused(root: Path, tmp_path: Path) -> None:
    naive = datetime(2026, 11, 29)  # noqa: DTZ001 # is what is refused
    with pytest.raises(ValueError, match="no time zone"):
        await all_of(replay(root, naive))
    with pytest.raises(ValueError, match="is called OTHERS"):
        await all_of(replay(root, streams=["OTHERS"]))
    with pytest.raises(ValueError, match="book"):
        await all_of(replay(root, channels=["book"]))
    with pytest.raises(ValueError, match="above 0"):
        await all_of(replay(root, speed=0))
    with pytest.raises(NoArchive):
        await all_of(replay(tmp_path))


async def test_speed_takes_its_share_of_the_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only sleeping moves."""
    now = 0.0
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        nonlocal now
        now += seconds
        await sleep(0)

    monkeypatch.setattr("ssmd_client.replaying.asyncio.sleep", slept)
    monkeypatch.setattr("ssmd_client.replaying.time.monotonic", lambda: now)
    first: Played | None = None
    reached = 0.0
    async for item in replay(root, until=datetime(2026, 11, 29, tzinfo=UTC), speed=10):
        if isinstance(item, Played):
            first = first or item
            reached = max(reached, (item.stored_at_ns - first.stored_at_ns) / 1e10)
            assert now == pytest.approx(reached, abs=1e-6)
    assert reached > 10


async def test_who_stops_early_leaves_nothing_open(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "archive"))
    async with aclosing(replay(copy)) as items:
        async for _ in items:
            break
    # Also while a file is read: that is waited for.
    file = blocking(copy)
    task = asyncio.create_task(all_of(replay(copy)))
    writing = await asyncio.to_thread(os.open, file, os.O_WRONLY)
    task.cancel()
    await asyncio.sleep(0)
    os.close(writing)
    with pytest.raises(asyncio.CancelledError):
        await task
    open_files = {Path(file.path) for file in psutil.Process().open_files()}
    assert not [path for path in open_files if path.is_relative_to(copy)]
