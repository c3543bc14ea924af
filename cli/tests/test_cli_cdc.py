"""`ssmd cdc tail` and `ssmd cdc status` beside a publisher that runs as its own process."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import typer
import warm
from pydantic import SecretStr
from typer.testing import CliRunner

from ssmd_cdc import overview as overview_module
from ssmd_cdc.overview import overview
from ssmd_cdc.settings import CdcSettings
from ssmd_cli import following as following_module
from ssmd_cli.cdc import app
from ssmd_cli.cdc_tail import follow, tail
from ssmd_cli.changes import Filter, line
from ssmd_cli.following import NoStream, first_sequence
from ssmd_cli.since import Lsn, parse_since
from ssmd_common.connections import nats as connections
from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import NatsSettings
from ssmd_stack import binaries, forked
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stream import subjects
from ssmd_stream.change import Change, Difference
from ssmd_stream.stream import Stream

PATIENCE_SECONDS = 180


@pytest.fixture
def environment(database: Database, nats_server: NatsServer) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database.url,
        "NATS_URL": nats_server.url,
        "CDC_SLOT": f"cli_{database.name}",
        "OPS_PORT": str(free_port()),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
async def publisher(
    environment: dict[str, str], database: Database, nats_server: NatsServer
) -> AsyncIterator[forked.Started]:
    process = await forked.start("ssmd_cdc", env=environment)
    settings = CdcSettings(
        database_url=SecretStr(database.url),
        nats_url=SecretStr(nats_server.url),
        cdc_slot=environment["CDC_SLOT"],
    )
    client = await connections.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await overview(settings, client)).problems:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await connections.close(client)
    yield process
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await process.wait() == 0


async def ssmd(
    environment: dict[str, str], *arguments: str, cwd: Path | None = None
) -> tuple[int, str, str]:
    return await warm.ssmd(arguments, cwd, environment)


async def write(database: Database) -> None:
    async with database.connect() as db:
        await db.execute("INSERT INTO series (ticker, title) VALUES ('KXA', 'a'), ('KXB', 'b')")
        await db.execute("INSERT INTO events (event_ticker, series_ticker) VALUES ('A.1', 'KXA')")
        await db.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker)"
            " VALUES ('A.1-M', 'A.1', 'KXA')"
        )
        await db.execute("UPDATE markets SET status = 'settled', result = 'yes'")


@pytest.mark.usefixtures("publisher")
async def test_tail(
    environment: dict[str, str],
    database: Database,
    nats_server: NatsServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await write(database)
    code, out, err = await ssmd(
        environment, "cdc", "tail", "--since", "1", "--series", "KXA", "--limit", "4", "--json"
    )
    assert code == 0, err
    messages = [json.loads(line) for line in out.splitlines()]
    assert [message["type"] for message in messages] == [
        "series_added",
        "event_added",
        "market_added",
        "market_settled",
    ]
    _, event, market, settled = messages

    async def only(
        since: str | None,
        series: str | None = None,
        table: str | None = None,
        type_: str | None = None,
    ) -> dict[str, Any]:
        """In this process, which is quicker than to start a command for each."""
        wanted, start = Filter(series, table, type_), parse_since(since)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await tail(settings, wanted, start, limit=1, as_json=True)
        return dict(json.loads(capsys.readouterr().out))

    settings = NatsSettings(nats_url=SecretStr(nats_server.url))
    client = await connections.connect(settings, "test", budget_seconds=30)
    js = client.jetstream(timeout=60)
    last = (await js.stream_info(subjects.STREAM)).state.last_seq
    now = datetime.now(UTC)
    # Those of tails that ended stay for a minute.
    consumers = len(await js.consumers_info(subjects.STREAM))
    tailing = asyncio.create_task(only(None))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(await js.consumers_info(subjects.STREAM)) == consumers:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    async with database.connect() as db:
        await db.execute("INSERT INTO fees VALUES ('later', 0.1, 0.2)")
    later = await tailing
    assert later["key"] == {"tier": "later"}
    assert await only(now.isoformat()) == later
    assert await only(f"{now:%Y-%m-%dT%H:%M:%S.%f}") == later
    assert await only(str(last)) == settled
    assert await only(event["lsn"]) == event
    assert await only(event["lsn"], table="markets") == market
    assert await only("1h", type_="market_settled") == settled
    assert await only("1", "KXA", "events") == event
    assert (await only("1", table="markets"))["table"] == "markets"
    await connections.close(client)

    code, out, _ = await ssmd(
        {**without(environment, "NO_COLOR"), "FORCE_COLOR": "1", "TERM": "xterm-256color"},
        "cdc", "tail", "--since", "1", "--type", "market_settled", "--limit", "1",
    )  # fmt: skip
    assert code == 0
    assert "\x1b[36m  market_settled" in out
    text = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert "A.1-M" in text
    assert "result ∅→yes" in text


async def test_a_series_tail_shows_the_marker_of_a_row_that_could_not_be_read(
    nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose row it was nobody knows: whoever filters might have wanted it."""
    settings = NatsSettings(nats_url=SecretStr(nats_server.url))
    client = await connections.connect(settings, "test", budget_seconds=30)
    js = client.jetstream(timeout=60)
    await js.add_stream(name=subjects.STREAM, subjects=["cdc.>"])
    for subject in ("cdc.markets.update.KXB.E.M", subjects.unreadable_subject("markets", "update")):
        message = {
            "v": 1, "lsn": "0/1", "seq": 0, "xid": 7, "epoch": 1, "table": "markets",
            "op": "update", "type": "market_updated", "ticker": None, "key": None, "data": None,
            "timestamp": "2026-02-03T22:05:00Z", "error": subject,
        }  # fmt: skip
        headers = {"Ssmd-Type": "market_updated"}
        await js.publish(subject, json.dumps(message).encode(), headers=headers)
    await connections.close(client)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await tail(settings, Filter("KXA", None, None), parse_since("1"), limit=1, as_json=True)
    assert json.loads(capsys.readouterr().out)["error"] == "cdc.markets.update._._._"


def without(environment: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key != name}


@pytest.mark.usefixtures("publisher")
async def test_status(environment: dict[str, str], database: Database, tmp_path: Path) -> None:
    code, out, err = await ssmd(environment, "cdc", "status", "--json")
    assert code == 0, err
    status = json.loads(out)
    assert status["problems"] == []
    assert status["slot"]["active"]
    assert status["slot"]["lag_bytes"] >= 0
    assert status["slot"]["lag_seconds"] >= 0
    assert status["memory"]["epoch"] == 1
    assert status["stream"]["last_sequence"] > 0

    # Without the environment, the system that runs in this directory is meant.
    names = ("DATABASE_URL", "NATS_URL")
    directory = tmp_path / ".ssmd"
    directory.mkdir()
    (directory / "env").write_text("".join(f"{n}='{environment[n]}'\n" for n in names))
    bare = {name: value for name, value in environment.items() if name not in names}
    code, out, err = await ssmd(bare, "cdc", "status", cwd=tmp_path)
    assert code == 0, err
    assert "streaming" in out
    assert "epoch" in out


async def test_status_judges_progress_and_seconds_not_bytes(
    environment: dict[str, str],
    database: Database,
    publisher: forked.Started,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server measures no lag of who confirms nothing, and it is a few hundred bytes."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(overview_module, "STILL_SECONDS", 1.0)
    # Its log would go to the runner's stderr for as long as this process lives.
    monkeypatch.setattr("ssmd_cli.cdc.quiet_logs", lambda: None)
    publisher.send_signal(signal.SIGSTOP)
    try:
        await write(database)
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["status"])
        told = await asyncio.to_thread(CliRunner().invoke, app, ["status", "--json"])
    finally:
        publisher.send_signal(signal.SIGCONT)
    assert (shown.exit_code, told.exit_code) == (ExitCode.UPSTREAM, ExitCode.UPSTREAM)
    status = json.loads(told.stdout)
    assert status["stuck"]
    assert status["slot"]["lag_seconds"] >= status["slot"]["still_seconds"] >= 1
    assert 0 < status["slot"]["lag_bytes"] < 1 << 20
    assert "nothing was published or confirmed for" in shown.stderr


async def test_status_says_what_is_wrong(environment: dict[str, str]) -> None:
    code, _, err = await ssmd(environment, "cdc", "status")
    assert code == 1
    assert "is missing" in err


async def test_tail_without_a_stream_or_a_server(environment: dict[str, str]) -> None:
    code, _, err = await ssmd(environment, "cdc", "tail")
    assert code == 3
    assert "SECMASTER_CDC is not there" in err
    nowhere = {**environment, "NATS_URL": f"nats://127.0.0.1:{free_port()}"}
    code, _, err = await ssmd(nowhere, "cdc", "tail")
    assert code == 4
    assert "NATS_URL" in err


@pytest.mark.parametrize("verb", ["tail", "status"])
async def test_a_server_without_jetstream(environment: dict[str, str], verb: str) -> None:
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        binaries.nats_server(), "-a", "127.0.0.1", "-p", str(port),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        plain = {**environment, "NATS_URL": f"nats://127.0.0.1:{port}"}
        code, _, err = await ssmd(plain, "cdc", verb)
    finally:
        server.kill()
        await server.wait()
    assert code == 4
    assert "JetStream" in err
    assert "Traceback" not in err


@pytest.mark.slow
async def test_following_outlives_an_outage(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the stream itself is gone, which no waiting mends."""
    client = await connections.connect(
        NatsSettings(nats_url=SecretStr(nats_server.url)), "test", budget_seconds=PATIENCE_SECONDS
    )
    js = client.jetstream(timeout=60)
    tried, reading = asyncio.Event(), following_module.reading

    def try_to_read(*arguments: Any, **options: Any) -> Any:
        tried.set()
        return reading(*arguments, **options)

    monkeypatch.setattr(following_module, "reading", try_to_read)
    await js.add_stream(name=subjects.STREAM, subjects=[subjects.SUBJECTS])
    followed = follow(client, [subjects.SUBJECTS], 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await js.publish("cdc.series.insert.A", b"1")
        assert (await anext(followed)).payload == b"1"
        tried.clear()
        await nats_server.stop()
        following = asyncio.ensure_future(anext(followed))
        await tried.wait()
        # It has no reader, and whoever asks gets no answer.
        with pytest.raises(nats.errors.TimeoutError):
            await client.jetstream(timeout=1).stream_info(subjects.STREAM)
        await nats_server.start()
        await client.flush(PATIENCE_SECONDS)
        await js.publish("cdc.series.insert.A", b"2", timeout=PATIENCE_SECONDS)
        assert (await following).payload == b"2"
        await js.delete_stream(subjects.STREAM)
        with pytest.raises(NoStream):
            await anext(followed)
    await connections.close(client)


def envelope(number: int, **more: Any) -> bytes:
    """A message's content, the change with that LSN."""
    change = {
        "v": 1,
        "lsn": f"0/{number:X}",
        "seq": 0,
        "xid": 7,
        "epoch": 1,
        "table": "series",
        "op": "insert",
        "type": "series_added",
        "ticker": f"S{number}",
        "key": None,
        "data": {"ticker": f"S{number}"},
        "timestamp": "2026-02-03T22:05:00Z",
    }
    return json.dumps({**change, **more}).encode()


async def test_messages_that_cannot_be_read_are_named_and_passed_over(
    nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by the search for an LSN, wherever they stand."""
    settings = NatsSettings(nats_url=SecretStr(nats_server.url))
    client = await connections.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
    js = client.jetstream(timeout=60)
    await js.add_stream(name=subjects.STREAM, subjects=[subjects.SUBJECTS])
    deep = envelope(9).replace(b'"S9"}', b'"S9", "a": ' + b"[" * 2000 + b"]" * 2000 + b"}")
    poison = (deep, b"hello", b"[]", b"", b'{"v":1}', b'"\xff"')
    # A time whose UTC Python cannot hold, and a value whose text it does not make.
    far = envelope(
        20,
        timestamp="9999-12-31T23:59:59-05:00",
        changes={"title": {"old": None, "new": 1}},
    ).replace(b'"new": 1', b'"new": ' + b"[" * 100 + b"]" * 100)
    for number in range(1, 8):
        await js.publish("cdc.series.insert.A", envelope(number))
        for content in poison:
            await js.publish("cdc.series.insert.A", content)
    await js.publish("cdc.series.insert.A", far)
    await js.publish("cdc.series.insert.A", b"the last one")

    async def tailed(since: str, limit: int, *, as_json: bool) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await tail(
                settings,
                Filter(None, None, None),
                parse_since(since),
                limit=limit,
                as_json=as_json,
            )
        shown = capsys.readouterr()
        assert "passed over" in shown.err
        assert "(cdc.series.insert.A)" in shown.err
        assert "Traceback" not in shown.err
        return shown.out

    for since, first in (("1", 1), ("0/1", 1), ("0/3", 3), ("0/5", 5), ("0/7", 7)):
        lines = (await tailed(since, 9 - first, as_json=True)).splitlines()
        numbers = [int(json.loads(line)["lsn"].partition("/")[2], 16) for line in lines]
        assert numbers == [*range(first, 8), 0x14]
    assert "S20" in await tailed("0/7", 2, as_json=False)
    await js.purge_stream(subjects.STREAM)
    await js.publish("cdc.series.insert.A", b"alone")
    end = (await js.stream_info(subjects.STREAM)).state.last_seq
    assert await first_sequence(Stream(client), Lsn(1)) == end + 1
    await connections.close(client)


def test_where_to_begin() -> None:
    assert parse_since("1042") == 1042
    assert parse_since("0/16B3748") == Lsn(0x16B3748)
    assert str(parse_since("2026-02-03T22:00:00")) == "2026-02-03 22:00:00+00:00"
    assert str(parse_since("2026-02-03T22:00:00Z")) == "2026-02-03 22:00:00+00:00"
    for age in ("15m", "-15m"):
        at = parse_since(age)
        assert isinstance(at, datetime)
        assert timedelta(minutes=15) <= datetime.now(UTC) - at < timedelta(minutes=30)
    with pytest.raises(typer.BadParameter, match="99999999999d is before all times"):
        parse_since("99999999999d")
    for wrong in ("soon", "0/zz", "12y", "2026-13-01"):
        with pytest.raises(ConfigurationError, match="--since"):
            parse_since(wrong)


def test_the_server_filters() -> None:
    assert Filter(None, None, None).subjects() == ["cdc.>"]
    assert Filter(None, "markets", None).subjects() == ["cdc.markets.>"]
    assert Filter("KX.A", "events", None).subjects() == [
        "cdc.events.*.KX%2EA.>",
        # Markers of rows that could not be read.
        "cdc.events.*._._",
    ]
    assert Filter("_", "events", None).subjects() == ["cdc.events.*.%5F.>", "cdc.events.*._._"]
    assert "cdc.series.*.KXA" in Filter("KXA", None, None).subjects()
    with pytest.raises(ConfigurationError, match="fees"):
        Filter("KXA", "fees", None).subjects()


async def test_a_tail_into_a_file_is_written_as_it_goes(
    environment: dict[str, str], nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each line is there while the command goes on, however few there are."""
    client = await connections.connect(
        NatsSettings(nats_url=SecretStr(nats_server.url)), "test", budget_seconds=30
    )
    js = client.jetstream(timeout=60)
    await js.add_stream(name=subjects.STREAM, subjects=["cdc.>"])
    path = tmp_path / "tail.jsonl"
    with path.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssmd_cli", "cdc", "tail", "--since", "1", "--json",
            env=without(environment, "PYTHONUNBUFFERED"), stdout=file,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    for number in (1, 2):
        message = {
            "v": 1, "lsn": f"0/{number}", "seq": 0, "xid": 7, "epoch": 1, "table": "fees",
            "op": "insert", "type": "fee_added", "ticker": None, "key": {"tier": str(number)},
            "data": {"tier": str(number)}, "timestamp": "2026-02-03T22:05:00Z",
        }  # fmt: skip
        await js.publish(f"cdc.fees.insert.{number}", json.dumps(message).encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while path.read_text().count("\n") < number:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert process.returncode is None
    process.terminate()
    await process.wait()
    await connections.close(client)


def test_values_are_said_as_json_has_them() -> None:
    at = datetime(2026, 2, 3, tzinfo=UTC)
    change = Change(
        v=1,
        lsn="0/1",
        seq=0,
        xid=1,
        epoch=1,
        table="events",
        op="update",
        type="event_updated",
        key={"event_ticker": "E"},
        ticker="E",
        data={},
        changes={
            "mutually_exclusive": Difference(old=None, new=False),
            "extra": Difference(old={"a": "b"}, new=[1, None]),
            "title": Difference(old="x", new="y"),
        },
        timestamp=at,
    )
    said = line(change).plain
    assert said.endswith('mutually_exclusive ∅→false  extra {"a":"b"}→[1,null]  title x→y')
