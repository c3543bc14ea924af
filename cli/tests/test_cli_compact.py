"""`ssmd archive compact` over several days and streams: a bad day costs itself alone."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from made_market_data import Maker, subject_of
from typer.testing import CliRunner, Result

from ssmd_archive.layout import MANIFEST, MARKET_DATA, Layout, books
from ssmd_archive.lock import locked
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_cli.archive import app
from ssmd_common.exitcodes import ExitCode
from ssmd_stream.market.messages import Message, encoded

from .test_cli_archive_days import Stored

FIRST = datetime(2026, 2, 3, 1, tzinfo=UTC)
DAYS = ["2026-02-03", "2026-02-04", "2026-02-05", "2026-02-06"]
"""The last one is not over."""


def archive(root: Path, layout: Layout, messages: list[Message | None]) -> None:
    """Archive them a quarter of an hour each; None is one that the stream has lost."""
    root.mkdir(exist_ok=True)
    with locked(root):
        writer = ArchiveWriter(root, layout, Rotation(900))
        writer.recover()
        writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        for number, message in enumerate(messages, 1):
            if message is not None:
                ns = int(datetime.fromisoformat(message.received_at).timestamp()) * 10**9
                subject = subject_of(message, layout.shard)
                writer.take([Stored(number, subject, encoded(message), ns)])
                writer.work()
        writer.seal()
        writer.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Days of trades with two windows each, and of books."""
    root = tmp_path_factory.mktemp("archive") / "archive"
    trades, snapshots = Maker(), Maker("b1")
    of_trades: list[Message | None] = []
    of_books: list[Message | None] = []
    for number in range(len(DAYS)):
        at = FIRST + timedelta(days=number)
        of_trades += [trades.trade("KXA-1", at=at + timedelta(minutes=20 * n)) for n in range(3)]
        snapshots.now = at
        of_books.append(snapshots.snapshot("KXA-1", [["0.4100", "5.00"]], []))
    archive(root, MARKET_DATA, of_trades)
    archive(root, books(0), of_books)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "archive"))


def compact(root: Path, *words: str) -> Result:
    environment = {"NO_COLOR": "1", "ARCHIVER_ROOT": str(root)}
    return CliRunner().invoke(app, ["compact", *words], env=environment)


def compacted(root: Path, stream: str = "MARKET_DATA") -> list[str]:
    return sorted(path.parent.name[4:] for path in (root / "parquet" / stream).glob("*/*.json"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def first_file(day: Path) -> Path:
    return min((day / "trade").iterdir())


def flip(path: Path, line: int) -> None:
    """Change a byte in the middle of a line."""
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines[line]) // 2
    lines[line] = lines[line][:middle] + b"#" + lines[line][middle + 1 :]
    path.write_bytes(b"".join(lines))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a file is cut": lambda day: cut(first_file(day)),
    "a file is gone": lambda day: first_file(day).unlink(),
    "a file is another's": lambda day: first_file(day).write_bytes(
        first_file(day.parent.parent / "MARKET_DATA" / DAYS[2]).read_bytes()
    ),
    "its first line cannot be read": lambda day: flip(day / MANIFEST, 0),
    "its last line cannot be read": lambda day: flip(day / MANIFEST, -1),
    "no line can be read": lambda day: (day / MANIFEST).write_bytes(b"x\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_day_costs_itself_alone(root: Path, damage: str) -> None:
    DAMAGES[damage](root / "MARKET_DATA" / DAYS[1])
    result = compact(root)
    assert result.exit_code == ExitCode.FAILED, result
    assert compacted(root) == [DAYS[0], DAYS[2]]
    assert compacted(root, "MARKET_BOOKS_0") == DAYS[:3]
    told, last = result.stderr.splitlines()
    assert told.startswith(f"MARKET_DATA {DAYS[1]} is not compacted: MARKET_DATA/{DAYS[1]}/"), told
    assert "`ssmd archive repair --stream MARKET_DATA` mends it" in told
    assert last == f"1 of 6 days cannot be compacted: MARKET_DATA {DAYS[1]}"
    # Those that are compacted do not hide it, the next night either.
    result = compact(root, "--json")
    assert result.exit_code == ExitCode.FAILED
    [*done, failed] = json.loads(result.stdout)
    assert [one["new"] for one in done] == [False] * 5
    assert (failed["stream"], failed["day"]) == ("MARKET_DATA", DAYS[1])
    assert "mends it" in failed["error"]


def test_a_day_whose_end_is_missing_is_not_compacted_as_whole(root: Path) -> None:
    """The line that is missing was its last one: the next day does not follow."""
    path = root / "MARKET_DATA" / DAYS[1] / MANIFEST
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    result = compact(root)
    assert result.exit_code == ExitCode.FAILED
    assert compacted(root) == [DAYS[0]]
    assert f"2 of 6 days cannot be compacted: MARKET_DATA {DAYS[1]}, MARKET_DATA {DAYS[2]}" in (
        result.stderr
    )


def test_each_bad_day_is_named_and_the_exit_code_is_of_all(root: Path) -> None:
    cut(first_file(root / "MARKET_DATA" / DAYS[0]))
    cut(first_file(root / "MARKET_DATA" / DAYS[2]))
    result = compact(root)
    assert result.exit_code == ExitCode.FAILED
    assert compacted(root) == [DAYS[1]]
    assert f"2 of 6 days cannot be compacted: MARKET_DATA {DAYS[0]}, MARKET_DATA {DAYS[2]}" in (
        result.stderr
    )
    result = compact(root, "--date", DAYS[0], "--stream", "MARKET_DATA")
    assert result.exit_code == ExitCode.FAILED
    assert result.stdout == ""
    [told] = result.stderr.splitlines()
    assert "mends it" in told


def test_what_was_asked_for_of_a_day_that_is_not_over_is_no_failure(root: Path) -> None:
    result = compact(root, "--partial")
    assert result.exit_code == 0, result
    assert compacted(root) == DAYS
    [told] = [line for line in result.stderr.splitlines() if "MARKET_DATA" in line]
    assert told == (
        f"MARKET_DATA {DAYS[3]} is not over: it is compacted as far as it is archived, and made "
        "anew by a later `ssmd archive compact`"
    )
    # Without it the day is refused.
    result = compact(root, "--date", DAYS[3])
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr.count("is not over: no later day has a line yet") == 2


def test_a_day_that_lacks_messages_is_compacted_and_said(tmp_path: Path) -> None:
    maker = Maker()
    ages = (timedelta(0), timedelta(minutes=1), timedelta(minutes=2), timedelta(days=1))
    trades: list[Message | None] = [maker.trade("KXA-1", at=FIRST + age) for age in ages]
    trades[1] = None
    archive(tmp_path / "archive", MARKET_DATA, trades)
    result = compact(tmp_path / "archive")
    assert result.exit_code == ExitCode.PARTIAL
    assert f"MARKET_DATA {DAYS[0]} lacks sequences 2 to 2 of chain 1" in result.stderr
    assert compacted(tmp_path / "archive") == DAYS[:1]


def test_where_nothing_is_archived_nothing_is_compacted(made: Path, tmp_path: Path) -> None:
    """A run of the first night has nothing to do, and did it."""
    result = compact(made, "--stream", "MARKET_BOOKS_7")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing is sealed yet of MARKET_BOOKS_7\n"
    # The archiver has begun a file.
    begun = tmp_path / "begun" / "MARKET_DATA" / DAYS[0] / "trade" / "0600-1.jsonl.gz.part"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"")
    result = compact(tmp_path / "begun", "--partial")
    assert (result.exit_code, result.stderr) == (0, "nothing is sealed yet of MARKET_DATA\n")
    archive(tmp_path / "archive", MARKET_DATA, [Maker().trade("KXA-1", at=FIRST)])
    result = compact(tmp_path / "archive", "--json")
    assert (result.exit_code, result.stdout) == (0, "[]\n")
    assert result.stderr.startswith("no day is over yet: ")
    assert compact(tmp_path / "archive", "--date", DAYS[1]).exit_code != 0
    assert "is no directory" in str(compact(tmp_path / "none").exception)
    result = CliRunner().invoke(app, ["ls", "--root", str(made)])
    assert result.stderr.splitlines()[-1] == (
        "there is more: --stream MARKET_BOOKS_0, --stream MARKET_DATA"
    )


def test_a_record_that_cannot_be_read_names_what_makes_it_anew(root: Path) -> None:
    assert compact(root).exit_code == 0
    record = root / "parquet/MARKET_DATA" / f"day={DAYS[1]}" / "manifest.json"
    record.write_text("{")
    result = compact(root)
    assert result.exit_code == ExitCode.FAILED
    assert f"`ssmd archive compact --again --date {DAYS[1]}` makes the day anew" in result.stderr
    assert compact(root, "--again", "--date", DAYS[1]).exit_code == 0
    assert compact(root).exit_code == 0
