"""Questions over compacted days: answered, and nothing else is read or written."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from made_market_data import Maker

from ssmd_archive.catalog import Archive
from ssmd_archive.errors import NotArchived
from ssmd_archive.layout import MARKET_DATA, books
from ssmd_archive.parquet import record
from ssmd_archive.parquet.compaction import compact
from ssmd_archive.parquet.query import QueryRefused, ask, opened

from .archived_day import NEXT, a_day, archive, at, stored


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("it's an archive")
    maker, book = Maker(), Maker("b")
    archive(root, stored([*a_day(maker), maker.trade("KXB-1", at=at(1, NEXT))]))
    for day in ("2026-02-03", "2026-02-04"):
        compact(Archive(root, MARKET_DATA), day, partial=True)
    for shard in (0, 1):
        book.now = at(1)
        archive(root, stored([book.delta("KXA-1", "yes", "0.4", "1")], shard=shard), books(shard))
        compact(Archive(root, books(shard)), "2026-02-03", partial=True)
    return root


def asked(root: Path, text: str) -> list[dict[str, Any]]:
    with opened(root) as database:
        return [row for batch in ask(database, text).batches() for row in batch.to_pylist()]


def test_tables_are_views_over_all_days_and_streams(root: Path) -> None:
    names = {row["name"] for row in asked(root, "SHOW TABLES")}
    assert names >= {"trade", "ticker", "session", "unreadable", "book", "books_session", "other"}
    days = asked(root, "SELECT day, count(*) AS n FROM trade GROUP BY day ORDER BY day")
    assert [(str(row["day"]), row["n"]) for row in days] == [("2026-02-03", 40), ("2026-02-04", 1)]
    [total] = asked(root, "SELECT sum(price * count) AS paid FROM trade WHERE day = '2026-02-03'")
    assert total["paid"] == Decimal(40) * Decimal("4.2")
    found = asked(root, "SELECT _stream, delta FROM book ORDER BY _stream")
    assert [row["_stream"] for row in found] == ["MARKET_BOOKS_0", "MARKET_BOOKS_1"]
    assert found[0]["delta"] == Decimal(1)
    # As they are stored, wherever this machine is.
    [hour] = asked(root, "SELECT min(_stored_at)::VARCHAR AS at FROM trade")
    assert hour["at"].startswith("2026-02-03 01:00")
    assert hour["at"].endswith("+00")


def test_it_is_of_days_that_are_there(tmp_path: Path) -> None:
    archive(tmp_path / "a", stored([Maker().record("count", at=at(1))]))
    with pytest.raises(NotArchived, match="ssmd archive compact"):
        asked(tmp_path / "a", "SELECT 1")


FORBIDDEN = {
    "another file by its name": "FROM '{secret}'",
    "read_csv": "FROM read_csv('{secret}')",
    "read_text": "FROM read_text('{secret}')",
    "read_blob": "FROM read_blob('{secret}')",
    "sniff_csv": "FROM sniff_csv('{secret}')",
    "glob": "FROM glob('{folder}/*')",
    "parquet_metadata": "FROM parquet_metadata('{secret}')",
    "out of the archive": "FROM read_text('{root}/parquet/../../secret.csv')",
    "a sealed file": "FROM read_text('{root}/MARKET_DATA/2026-02-03/manifest.jsonl')",
    "a file beside Parquet": "FROM read_text('{root}/parquet/MARKET_DATA/day=2026-02-03/note.csv')",
    "a link out of it": "FROM read_csv('{root}/parquet/link.csv')",
    "the network": "FROM read_parquet('https://example.invalid/x.parquet')",
    "s3": "FROM read_parquet('s3://bucket/x.parquet')",
    "the environment": "SELECT getenv('HOME')",
    "stdin": "FROM read_csv('/dev/stdin')",
    "a python variable": "FROM rows",
    "COPY": "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY into the archive": "COPY trade TO '{root}/parquet/out.parquet'",
    "COPY over a file": "COPY (SELECT 1) TO '{parquet}'",
    "COPY in EXPLAIN": "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY in query": "FROM query('COPY (SELECT 1) TO ''{folder}/out.csv''')",
    "EXPORT": "EXPORT DATABASE '{folder}/out'",
    "ATTACH": "ATTACH '{folder}/out.db'",
    "INSTALL": "INSTALL httpfs",
    "LOAD": "LOAD httpfs",
    "SET": "SET enable_external_access = true",
    "SET paths": "SET allowed_directories = ['/']",
    "PRAGMA": "PRAGMA enable_profiling",
    "logging": "FROM enable_logging(storage = 'file', storage_path = '{folder}/out')",
    "DROP": "DROP VIEW trade",
    "CREATE": "CREATE TABLE mine AS SELECT 1",
    "two": "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
    "none": "",
    "no SQL": "what is there?",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_is_no_question_over_the_archive_is_refused(
    root: Path, tmp_path: Path, what: str
) -> None:
    secret = root.parent / "secret.csv"
    secret.write_text("name,word\nall,hunter2\n")
    day = record.folder_of(root, "MARKET_DATA", "2026-02-03")
    (day / "note.csv").write_text("a\n1\n")
    link = root / "parquet" / "link.csv"
    if not link.is_symlink():
        link.symlink_to(secret)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}
    rows = [1]
    assert rows
    with pytest.raises(QueryRefused):
        asked(
            root,
            FORBIDDEN[what].format(
                secret=secret, folder=tmp_path, root=str(root).replace("'", "''"),
                parquet=str(day / "trade.parquet").replace("'", "''"),
            ),
        )  # fmt: skip
    assert not [*tmp_path.iterdir()]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")} == before


def test_what_fails_while_rows_are_made_is_said(root: Path) -> None:
    with pytest.raises(QueryRefused, match="nobody"):
        asked(root, "SELECT error('nobody knows') FROM trade")
