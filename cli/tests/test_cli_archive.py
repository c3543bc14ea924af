"""`ssmd archive …`: over an archive that was made, and over one of a running system."""

import asyncio
import errno
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import made_archive
import msgspec
import nats
import pytest
from typer.testing import CliRunner, Result

from ssmd_archive.bounds import At, Sequence
from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.lock import locked
from ssmd_cli.archive import app
from ssmd_cli.archive_place import parse_place
from ssmd_cli.changes import Filter
from ssmd_common.errors import ConfigurationError, SsmdError
from ssmd_common.exitcodes import ExitCode
from ssmd_stack import forked
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stream.change import Change, decode
from ssmd_stream.subjects import STREAM


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days, a hole of two messages, two chains."""
    root = tmp_path_factory.mktemp("archive")
    made_archive.archive(root)
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "archive"))


def run(root: Path, *arguments: str) -> Result:
    environment = {"NO_COLOR": "1", "COLUMNS": "200", "ARCHIVER_ROOT": str(root), "NATS_URL": None}
    return CliRunner().invoke(app, list(arguments), env=environment)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code in (0, ExitCode.PARTIAL), result.output
    return [json.loads(text) for text in result.stdout.splitlines()]


def test_ls_lists_days_losses_and_what_is_complete(made: Path) -> None:
    result = run(made, "ls")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()[1:]
    assert first.split()[:3] == ["2026-11-28", "52", "2"]
    assert second.split()[0] == "2026-11-29"
    assert "sequences 26 to 27 of chain 1 are lost" in result.stderr
    assert "complete: chain 2, sequences 1 to 38" in result.stderr
    [found] = lines(run(made, "ls", "--json"))
    assert [day["day"] for day in found["days"]] == ["2026-11-28", "2026-11-29"]
    assert [loss["kind"] for loss in found["lost"]] == ["hole", "chain"]
    assert [span["chain"] for span in found["complete"]] == [1, 1, 2]


def test_cat_shows_a_span_and_what_was_lost_in_it(made: Path) -> None:
    result = run(made, "cat", "--since", "1:20", "--until", "1:30", "--json")
    assert [line["_seq"] for line in lines(result)] == [*range(20, 26), 28, 29, 30]
    assert "sequences 26 to 27 of chain 1 are lost" in result.stderr
    assert "chain 2" not in result.stderr
    # Of the newest chain where none is named.
    assert [line["_seq"] for line in lines(run(made, "cat", "--since", "36", "--json"))] == [
        36, 37, 38,
    ]  # fmt: skip
    text = run(made, "cat", "--until", "1:3").stdout.splitlines()
    assert text[0] == "2026-11-28"
    assert len(text) == 4
    assert len(run(made, "cat", "--limit", "2", "--json").stdout.splitlines()) == 2
    late = lines(run(made, "cat", "--since", "2026-11-29T00:00:00Z", "--json"))
    assert late[0]["_stored_at"] >= "2026-11-29"
    early = lines(run(made, "cat", "--until", "2026-11-29T00:00:00Z", "--json"))
    everything = lines(run(made, "cat", "--json"))
    assert early + late == everything


def test_cat_filters_as_tail_does(made: Path) -> None:
    everything = lines(run(made, "cat", "--json"))
    markets = lines(run(made, "cat", "--table", "markets", "--json"))
    assert markets == [line for line in everything if line["table"] == "markets"]
    deleted = lines(run(made, "cat", "--type", "delete", "--series", "S1", "--json"))
    assert deleted
    assert {line["op"] for line in deleted} == {"delete"}
    assert {line["before"]["series_ticker"] for line in deleted} == {"S1"}
    result = run(made, "cat", "--table", "fees", "--series", "S1")
    assert "only series, series_fees, events, markets carry their series" in str(result.exception)


def change(**more: Any) -> Change:
    payload = {
        "v": 1, "lsn": "0/1", "seq": 0, "xid": 1, "epoch": 1, "table": "markets", "op": "update",
        "type": "market_updated", "ticker": "M", "key": {"ticker": "M"},
        "data": {"ticker": "M", "series_ticker": "S"}, "timestamp": "2026-11-28T17:00:00Z",
    }  # fmt: skip
    return decode(msgspec.json.encode({**payload, **more}))


def test_a_series_filter_shows_what_may_be_of_the_series() -> None:
    wanted = Filter("S", None, None)
    assert wanted.wants(change())
    assert not wanted.wants(change(data={"ticker": "M", "series_ticker": "T"}))
    # A row that could not be read may be one of it; one of a table without series is not.
    assert wanted.wants(change(data=None, error="unreadable"))
    assert not wanted.wants(change(table="fees", key={"tier": "S"}, data={"tier": "S"}))
    assert not wanted.wants(change(op="truncate", key=None, data=None))
    assert wanted.wants(change(table="series", key={"ticker": "S"}, data={"ticker": "S"}))


def test_places_are_times_ages_and_sequences_of_a_chain(made: Path) -> None:
    listed = list(Archive(made).lines())
    assert parse_place(None, "--at", listed) is None
    assert parse_place("7", "--at", listed) == Sequence(2, 7)
    assert parse_place("1:7", "--at", listed) == Sequence(1, 7)
    moment = datetime(2026, 11, 28, 17, tzinfo=UTC)
    assert parse_place("2026-11-28T17:00:00Z", "--at", listed) == At.of(moment)
    assert isinstance(parse_place("15m", "--at", listed), At)
    with pytest.raises(ConfigurationError, match="--at 0/16B3748 is an LSN, by which an archive"):
        parse_place("0/16B3748", "--at", listed)
    with pytest.raises(ConfigurationError, match=r"^--until x is no sequence \(1042 of the newest"):
        parse_place("x", "--until", listed)


def test_state_counts_rows_and_shows_those_of_a_table(made: Path) -> None:
    result = run(made, "state", "--json")
    assert result.exit_code == ExitCode.PARTIAL, "a foreign message of a table was unreadable"
    counts = {row["table"]: row["rows"] for row in json.loads(result.stdout)}
    markets = lines(run(made, "state", "--table", "markets", "--json"))
    assert len(markets) == counts["markets"] > 0
    assert len(lines(run(made, "state", "--table", "markets", "--json", "--limit", "1"))) == 1
    table = run(made, "state", "--table", "markets", "--at", "1:20")
    assert table.stdout.split()[:2] == ["ticker", "event_ticker"]
    assert "rows after sequence 20 of chain 1" in table.stderr
    assert "nothing is archived yet" not in table.stderr
    late = run(made, "state", "--at", "0s").stderr
    assert "nothing is archived yet of what came after 2026-" in late, "it is not of that moment"
    wrong = run(made, "state", "--table", "markets", "--at", "99")
    assert wrong.exception
    assert "sequence 99 of chain 2 is not archived" in str(wrong.exception)
    assert "has no state" in str(run(made, "state", "--table", "x").exception)


def test_tickers_of_a_day(made: Path) -> None:
    result = run(made, "tickers", "--date", "2026-11-28", "--json")
    assert result.exit_code == ExitCode.PARTIAL, "two messages of that day were lost"
    found = json.loads(result.stdout)
    assert {ticker["table"] for ticker in found} == {"series", "events", "markets"}
    only = run(made, "tickers", "--date", "2026-11-28", "--table", "events", "--csv")
    assert only.stdout.startswith("table,ticker,series,event,status,changes,added,removed\n")
    assert "nothing is archived of 2026-01-01" in str(
        run(made, "tickers", "--date", "2026-01-01").exception
    )


def test_verify_says_what_is_wrong_and_repair_mends_it(copy: Path) -> None:
    whole = run(copy, "verify", "--deep")
    assert whole.exit_code == 0
    [report] = lines(run(copy, "verify", "--json"))
    assert run(copy, "verify", "--head", report["head"]).exit_code == 0
    assert run(copy, "verify", "--head", "0" * 64).exit_code == ExitCode.DRIFT
    path = min(copy.glob("SECMASTER_CDC/*/markets/*.gz"))
    path.write_bytes(path.read_bytes()[:-1])
    name = path.relative_to(copy / "SECMASTER_CDC").as_posix()
    found = run(copy, "verify")
    assert found.exit_code == ExitCode.DRIFT
    assert found.stdout.startswith(f"{name}: changed: it is cut")
    assert "`ssmd archive repair --stream SECMASTER_CDC` mends" in found.stderr
    foreseen = run(copy, "repair", "--without-stream", "--dry-run")
    assert foreseen.exit_code == ExitCode.PARTIAL
    assert run(copy, "verify").exit_code == ExitCode.DRIFT
    mended = run(copy, "repair", "--without-stream")
    assert mended.exit_code == ExitCode.PARTIAL
    assert f"{name}: taken away" in mended.stdout
    assert "what was replaced is in aside/" in mended.stderr
    assert run(copy, "verify", "--deep").exit_code == 0
    again = run(copy, "repair", "--without-stream")
    assert again.exit_code == 0
    assert "there is nothing to mend" in again.stderr


def test_repair_waits_for_no_archiver_and_needs_the_stream(copy: Path) -> None:
    with locked(copy):
        refused = run(copy, "repair", "--without-stream")
    assert "one process writes to an archive, end that one first" in str(refused.exception)
    with ThreadPoolExecutor() as pool:
        with locked(copy):
            waiting = pool.submit(run, copy, "repair", "--without-stream", "--wait", "60")
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(60).exit_code == 0
    without = run(copy, "repair")
    assert isinstance(without.exception, SsmdError)
    assert "NATS_URL" in str(without.exception)


def test_without_an_archive_it_says_where_one_was_looked_for(tmp_path: Path) -> None:
    for command in ("ls", "cat", "state", "verify", "repair"):
        result = run(tmp_path / "x", command)
        assert "x is no directory" in str(result.exception)
        assert isinstance(result.exception, SsmdError)
        assert result.exception.exit_code == ExitCode.NOT_FOUND
    assert not (tmp_path / "x").exists()


def test_what_the_file_system_refuses_is_said(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/archive")

    (copy / "SECMASTER_CDC" / "stray").touch()
    with monkeypatch.context() as patched:
        patched.setattr(Disk, "rename", full)
        result = run(copy, "repair", "--without-stream")
    assert isinstance(result.exception, SsmdError)
    assert str(result.exception).startswith("/archive: No space left on device. Nothing")
    assert run(copy, "repair", "--without-stream").exit_code == 0


def test_help_has_an_example_of_each_command() -> None:
    for command in ("ls", "cat", "state", "tickers", "verify", "repair"):
        text = " ".join(CliRunner().invoke(app, [command, "--help"]).stdout.split())
        assert f"ssmd archive {command}" in text


@asynccontextmanager
async def archiver(root: Path, database: Any, server: NatsServer) -> AsyncIterator[forked.Started]:
    environment = {
        "DATABASE_URL": database.url, "NATS_URL": server.url, "ARCHIVER_ROOT": str(root),
        "ARCHIVER_ROTATE_SECONDS": "1", "ARCHIVER_FLUSH_SECONDS": "0.05",
        "OPS_PORT": str(free_port()),
    }  # fmt: skip
    child = await forked.start("ssmd_archiver", env=environment)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        await child.wait()


async def test_what_the_stream_holds_is_mended_from_it(
    tmp_path: Path, database: Any, nats_server: NatsServer
) -> None:
    """The archiver goes on from what was mended, and a repaired archive is the stream again."""
    root = tmp_path / "archive"
    client = await nats.connect(nats_server.url)
    js = client.jetstream(timeout=60)
    await js.add_stream(name=STREAM, subjects=["cdc.>"])
    payloads = []

    async def publish(count: int) -> None:
        for _ in range(count):
            payloads.append(msgspec.json.encode(change(seq=len(payloads))))
            await js.publish("cdc.markets.update.S.E.M", payloads[-1])

    async def archived(count: int) -> None:
        async with asyncio.timeout(180):
            while True:
                found = run(root, "cat", "--json")
                if found.exit_code == 0 and len(found.stdout.splitlines()) == count:
                    return
                await asyncio.sleep(0.1)

    await publish(300)
    async with archiver(root, database, nats_server):
        await archived(300)
    for path in root.glob("SECMASTER_CDC/*/*/*.gz"):
        path.write_bytes(b"x")
    min(root.glob("SECMASTER_CDC/*/manifest.jsonl")).write_bytes(b"")
    assert run(root, "verify").exit_code == ExitCode.DRIFT
    await js.purge_stream(STREAM, seq=51)
    environment = {"ARCHIVER_ROOT": str(root), "NATS_URL": nats_server.url}

    def repair() -> Result:
        return CliRunner().invoke(app, ["repair", "--json"], env=environment)

    result = await asyncio.to_thread(repair)
    assert result.exit_code in (0, ExitCode.PARTIAL), result.output
    await publish(10)
    async with archiver(root, database, nats_server):
        await archived(260)
    found = lines(run(root, "cat", "--json"))
    assert [line["seq"] for line in found] == [*range(50, 310)]
    assert run(root, "verify", "--deep").exit_code == 0
    await client.close()
