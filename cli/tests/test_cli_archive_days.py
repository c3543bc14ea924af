"""`ssmd archive compact`, `query` and `replay` as they are typed, and as the docs show them."""

import asyncio
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from made_market_data import Maker, subject_of
from nats.aio.client import Client
from typer.testing import CliRunner, Result

from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.layout import MARKET_DATA
from ssmd_archive.lock import locked
from ssmd_archive.parquet.query import QueryFailed, QueryRefused
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_cli.archive import app
from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode
from ssmd_stack.nats import NatsServer
from ssmd_stream.market.messages import Message, encoded

DAY = datetime(2026, 2, 3, tzinfo=UTC)
DOCS = Path(__file__).parents[2] / "docs/parquet.md"


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trades and quotes of one day, a record of the next."""
    root = tmp_path_factory.mktemp("archive")
    maker = Maker()
    messages: list[Message] = []
    for number in range(30):
        maker.now = DAY + timedelta(minutes=number)
        messages.append(maker.trade(f"KX{'AB'[number % 2]}-1"))
        messages.append(maker.ticker("KXA-1", yes_bid="0.4100", yes_ask="0.4300"))
    messages.append(maker.record("count", at=DAY + timedelta(days=1, hours=1)))
    with locked(root):
        writer = ArchiveWriter(root, MARKET_DATA, Rotation(900))
        writer.recover()
        writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        for number, message in enumerate(messages, 1):
            ns = int(datetime.fromisoformat(message.received_at).timestamp()) * 10**9
            writer.take([Stored(number, subject_of(message), encoded(message), ns)])
            writer.work()
        writer.seal()
        writer.close()
    assert run(root, "compact").exit_code == 0
    return root


def run(root: Path, *words: str, **environment: str) -> Result:
    return CliRunner().invoke(
        app, list(words), env={"NO_COLOR": "1", "ARCHIVER_ROOT": str(root), **environment}
    )


def failure(root: Path, *words: str) -> str:
    """The sentence of what is refused."""
    result = run(root, *words)
    assert result.exit_code != 0
    return str(result.exception)


def test_compact_tells_what_it_did_once(made: Path) -> None:
    result = run(made, "compact")
    assert result.stdout == "MARKET_DATA 2026-02-03  is compacted already\n"
    [found] = json.loads(run(made, "compact", "--date", "2026-02-03", "--json").stdout)
    assert found["tables"]["trade"] == 30
    assert (found["new"], found["complete"], found["messages"]) == (False, True, 60)
    assert "no day such as" in failure(made, "compact", "--date", "4 February")
    assert "nothing is archived of 2026-02-02" in failure(made, "compact", "--date", "2026-02-02")
    # In another folder: what is compacted of a day that goes on is no part of the others.
    assert run(made, "compact", "--date", "2026-02-04", "--partial").exit_code == 0


def test_query_prints_as_other_commands_do(made: Path, tmp_path: Path) -> None:
    sql = (
        "SELECT ticker, count(*) AS n, sum(count) AS contracts, max(_stored_at) AS last "
        "FROM trade WHERE day = '2026-02-03' GROUP BY ticker ORDER BY ticker"
    )
    table = run(made, "query", sql).stdout.splitlines()
    assert table[0].split() == ["ticker", "n", "contracts", "last"]
    assert table[1].split() == ["KXA-1", "15", "150.0000", "2026-02-03T00:28:01Z"]
    rows = json.loads(run(made, "query", sql, "--json").stdout)
    assert rows[0] == {
        "ticker": "KXA-1", "n": 15, "contracts": 150.0, "last": "2026-02-03T00:28:01Z",
    }  # fmt: skip
    lines = run(made, "query", sql, "-o", "jsonl").stdout.splitlines()
    # Numbers are exact.
    assert '"contracts":150.0000' in lines[0]
    assert list(map(json.loads, lines)) == rows
    found = list(csv.DictReader(io.StringIO(run(made, "query", sql, "--csv").stdout)))
    assert [row["contracts"] for row in found] == ["150.0000", "150.0000"]
    assert run(made, "query", "SELECT 1 WHERE false", "--json").stdout == "[]\n"
    # What is a text in JSON has no quotation marks of its own elsewhere.
    odd = (
        "SELECT DISTINCT day, TIMESTAMP '2026-02-03 01:02:03' AS at, TIME '01:02:03' AS clock, "
        "INTERVAL 90.5 SECOND AS lasted, "
        "'c6a8669e-ee95-4c42-9ef6-4a9b61380164'::UUID AS id FROM trade"
    )
    asked = [run(made, "query", odd, "-o", style).stdout for style in ("csv", "table", "json")]
    assert asked[0].splitlines()[1] == (
        "2026-02-03,2026-02-03T01:02:03,01:02:03,P0M0DT90.5S,c6a8669e-ee95-4c42-9ef6-4a9b61380164"
    )
    assert asked[1].splitlines()[1].split() == asked[0].splitlines()[1].split(",")
    assert [*json.loads(asked[2])[0].values()] == asked[0].splitlines()[1].split(",")
    file = tmp_path / "out.parquet"
    assert run(made, "query", sql, "-o", "parquet", "--file", str(file)).exit_code == 0
    assert pq.read_table(file).num_rows == 2
    assert [*tmp_path.iterdir()] == [file]
    # Without a format the file's name says it.
    for name, first in (("out.csv", "n"), ("out.jsonl", '{"n":30}'), ("out.json", '[{"n":30}]')):
        named = tmp_path / name
        result = run(made, "query", "SELECT count(*) AS n FROM trade", "--file", str(named))
        assert (result.exit_code, result.stdout) == (0, "")
        assert named.read_text().splitlines()[0] == first
    # Two columns of one name are two.
    twice = "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS b"
    assert run(made, "query", twice, "--csv").stdout == "a,a_2,a_1,b\n1,2,3,4\n"
    assert json.loads(run(made, "query", twice, "--json").stdout) == [
        {"a": 1, "a_2": 2, "a_1": 3, "b": 4}
    ]
    refused = failure(made, "query", odd, "-o", "parquet", "--file", str(file))
    assert "--output parquet" in refused
    assert pq.read_table(file).num_rows == 2, "what was there stays"


def test_query_refuses_what_does_not_only_read(made: Path, tmp_path: Path) -> None:
    assert "is only read" in failure(made, "query", f"COPY trade TO '{tmp_path}/x.csv'")
    for sql, said in (
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"'),
        ("FROM trades", 'Did you mean "trade"?'),
        ("SELECT 'x'::INT", "Conversion Error"),
        ("SELECT error('nobody') FROM trade", "nobody"),
        ("", "give one statement"),
    ):
        result = run(made, "query", sql)
        assert isinstance(result.exception, QueryRefused), result.exception
        assert (result.exception.exit_code, said in str(result.exception)) == (2, True)
    assert "disabled" in failure(made, "query", "FROM read_text('/etc/hostname')")
    assert run(tmp_path / "none", "query", "SELECT 1").exit_code != 0
    file = tmp_path / "out.csv"
    assert "nobody" in failure(
        made, "query", "SELECT error('nobody')", "--file", str(file), "--csv"
    )
    assert not [*tmp_path.iterdir()]


def test_query_over_damaged_parquet_says_what_mends_it(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "archive"))
    path = root / "parquet/MARKET_DATA/day=2026-02-03/trade.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    result = run(root, "query", "SELECT 1")
    assert isinstance(result.exception, ArchiveDamaged)
    assert "Parquet of trade cannot be read" in str(result.exception)
    assert "compact --again" in str(result.exception)
    # Its end is whole, what stands before it is not: no question is wrong then.
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:4] + bytes(end - 4) + content[end:])
    result = run(root, "query", "FROM trade")
    assert isinstance(result.exception, QueryFailed), result.exception
    assert result.exception.exit_code == ExitCode.FAILED


def test_replay_prints_lines_in_order(made: Path) -> None:
    lines = [json.loads(line) for line in run(made, "replay").stdout.splitlines()]
    assert [line["_seq"] for line in lines] == list(range(1, 62))
    assert lines[0]["_stream"] == "MARKET_DATA"
    assert lines[0]["msg"] == {}
    day = ["--from", "2026-02-03", "--to", "2026-02-03"]
    assert len(run(made, "replay", *day).stdout.splitlines()) == 60
    trades = run(made, "replay", *day, "--channel", "trade", "--ticker", "KXB-1")
    found = [json.loads(line) for line in trades.stdout.splitlines()]
    assert {(line["channel"], line["ticker"]) for line in found} == {("trade", "KXB-1")}
    assert len(found) == 15
    assert "give a time" in failure(made, "replay", "--from", "17")
    assert "book" in failure(made, "replay", "--channel", "book")
    turned = ["replay", "--from", "2026-02-04", "--to", "2026-02-03"]
    assert "--to 2026-02-03 is not after --from" in failure(made, *turned)
    long_ago = run(made, "cat", "--since", "9999999999d")
    assert (long_ago.exit_code, "is before all times" in long_ago.output) == (2, True)
    for words in (
        ("replay", "--from", "9999-12-31"),
        ("coverage", "--date", "2026-2-3"), ("coverage", "--date", "9999-12-31"),
        ("certify", "--date", "9999-12-31"), ("tickers", "--date", "x"),
        ("query", "FROM trade", "--date", "3"), ("compact", "--stream", ""),
        ("verify", "--head", "zz"),
    ):  # fmt: skip
        wrong = run(made, *words).exception
        assert isinstance(wrong, ConfigurationError), (words, wrong)


def test_what_is_missing_is_a_line_and_an_exit_code(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "archive"))
    next((root / "MARKET_DATA" / "2026-02-03" / "trade").iterdir()).unlink()
    result = run(root, "replay", "--stream", "MARKET_DATA")
    assert result.exit_code == ExitCode.PARTIAL
    missing = [
        line["_lost"] for line in map(json.loads, result.stdout.splitlines()) if "_lost" in line
    ]
    assert [(one["kind"], one["folder"], one["messages"]) for one in missing] == [
        ("damaged", "trade", 15)
    ]
    assert "missing: 15 messages of MARKET_DATA" in result.stderr


async def test_replay_to_nats_has_ids_of_its_own(made: Path, nats_server: NatsServer) -> None:

    client = Client()
    await client.connect(nats_server.url)
    try:
        js = client.jetstream(timeout=60)
        await js.add_stream(name="BACKTEST", subjects=["backtest.>"])

        def published(subject: str) -> Result:
            words = ["replay", "--channel", "trade", "--to-nats", subject]
            return run(made, *words, NATS_URL=nats_server.url)

        for _ in range(2):
            result = await asyncio.to_thread(published, "backtest")
            assert result.exit_code == 0, result.exception
            assert "the stream BACKTEST stores it" in result.stderr
        # Twice within the duplicate window is once.
        info = await js.stream_info("BACKTEST")
        assert info.state.messages == 30
        first: Any = await js.get_msg("BACKTEST", 1)
        assert first.subject == "backtest.md.trade.KXA.KXA-1%2EE.KXA-1"
        assert first.headers["Nats-Msg-Id"] == "replay:MARKET_DATA:1:1"
        assert first.headers["Ssmd-Msg-Id"] == "s1.1"
        assert json.loads(first.data)["trade_id"] == "s1-1"
        for subject in ("md", "cdc.markets", "md.trade", "a b", "a.*", ">"):
            refused = await asyncio.to_thread(published, subject)
            assert refused.exit_code != 0
            assert "live streams" in str(refused.exception)
        listened: list[str] = []
        all_heard = asyncio.Event()

        async def heard(message: Any) -> None:
            listened.append(message.subject)
            if len(listened) == 30:
                all_heard.set()

        await client.subscribe("elsewhere.>", cb=heard)
        await client.flush()
        result = await asyncio.to_thread(published, "elsewhere")
        assert "to who listens" in result.stderr
        await asyncio.wait_for(all_heard.wait(), 180)
    finally:
        await client.close()


def examples() -> dict[str, str]:
    """The programs of docs/parquet.md by their names."""
    blocks = re.findall(r"```python\n# example: (\S+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return dict(blocks)


@pytest.mark.parametrize("name", ["duckdb", "polars", "pandas"])
def test_the_docs_examples_run(made: Path, name: str) -> None:
    assert set(examples()) == {"duckdb", "polars", "pandas"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", examples()[name]],
        env={"ARCHIVE": str(made), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "KXA-1" in done.stdout or "0.42" in done.stdout


def test_the_docs_questions_run(made: Path) -> None:
    asked = re.findall(r'ssmd archive query "([^"]+)"( -o \w+)?', DOCS.read_text())
    assert len(asked) == 3
    for sql, style in asked:
        assert run(made, "query", sql, *style.split()).exit_code == 0, sql
