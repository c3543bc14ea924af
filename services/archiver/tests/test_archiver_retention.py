"""What is kept of single streams, and days that stay until they are compacted."""

import archived
import made_archive
import pytest
from pydantic import ValidationError

from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.journal import Journal
from ssmd_archive.layout import SECMASTER_CDC
from ssmd_archive.parquet.compaction import compact
from ssmd_archive.parquet.record import why_not_compacted
from ssmd_archive.retention import Keep, remove_old
from ssmd_archive.verify import verify
from ssmd_archiver.settings import parse_keep

from .conftest import World


def test_what_is_kept_is_said_of_each_stream() -> None:
    text = "MARKET_DATA=30d, MARKET_BOOKS_*=7d/200GiB,SECMASTER_CDC=all,MARKET_BOOKS_2=5MiB"
    found = parse_keep(text)
    assert found == {
        "MARKET_DATA": Keep(30, None),
        "MARKET_BOOKS_*": Keep(7, 200 << 30),
        "SECMASTER_CDC": Keep(),
        "MARKET_BOOKS_2": Keep(None, 5 << 20),
    }
    for text in (
        "MARKET_DATA", "MARKET_DATA=", "MARKET_DATA=0d", "MARKET_DATA=30", "MARKET_DATA=/5GiB",
        "OTHER=1d", "MARKET_DATA=1d,MARKET_DATA=2d", "MARKET_DATA=1d/",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"MARKET_DATA|OTHER"):
            parse_keep(text)


async def test_settings_choose_the_streams_own(world: World) -> None:
    settings = world.settings(
        archiver_keep_days=9, archiver_keep="MARKET_BOOKS_*=7d,MARKET_BOOKS_1=all"
    )
    assert settings.keep_of("SECMASTER_CDC") == Keep(9, None)
    assert settings.keep_of("MARKET_BOOKS_0") == Keep(7, None)
    assert settings.keep_of("MARKET_BOOKS_1") == Keep()
    for wrong in ({"archiver_keep": "MARKET_DATA=x"}, {"archiver_remove_only": "uploded"}):
        with pytest.raises(ValidationError):
            world.settings(**wrong)


def test_a_day_stays_until_it_is_compacted_and_the_chain_holds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("archive")
    made_archive.archive(root)
    source = Archive(root, SECMASTER_CDC)
    first, last = source.days()

    def removal() -> tuple[list[str], list[str], str]:
        journal = Journal(Disk(), source.stream, lambda _: None)
        journal.recover()
        found = remove_old(
            Disk(), source.stream, journal, Keep(1), lambda day: why_not_compacted(source, day)
        )
        return found.removed, found.stay, found.why

    removed, stay, why = removal()
    assert (removed, stay) == ([], [first])
    assert "ssmd archive compact" in why
    compact(source, first)
    assert removal()[0] == [first]
    assert source.days() == [last]
    assert not verify(source, deep=True).findings
    assert (root / "parquet" / "SECMASTER_CDC" / f"day={first}" / "markets.parquet").exists()


async def test_the_archiver_says_which_day_has_to_stay(world: World) -> None:
    """A day of long ago, and one of now."""
    made_archive.archive(world.root)
    days = Archive(world.root, SECMASTER_CDC).days()
    keep = {"archiver_keep": "SECMASTER_CDC=1d", "archiver_remove_only": "compacted"}
    async with world.archiver(**keep) as archiver:
        await archiver.ready()
        assert "is not compacted" in archiver.health.degraded["retention"]
    assert Archive(world.root, SECMASTER_CDC).days()[: len(days) - 1] == days[:-1]
    for day in days[:-1]:
        compact(Archive(world.root, SECMASTER_CDC), day)
    async with world.archiver(**keep) as archiver:
        await archiver.ready()
        assert "retention" not in archiver.health.degraded
    assert not set(days[:-1]) & set(Archive(world.root, SECMASTER_CDC).days())
    archived.read(world.stream, whole=False)
