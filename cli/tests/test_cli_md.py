"""`ssmd md tail|book|status` beside streams as connector fills them, and beside connector."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
import warm
from hypothesis import given
from hypothesis import strategies as st
from made_market_data import Maker, make_streams, publish
from nats.aio.client import Client
from pydantic import SecretStr
from terminals import Terminal

from ssmd_cli import md_tail
from ssmd_cli.ladder import picture
from ssmd_cli.md_book import NoBook, print_once
from ssmd_cli.md_status import document, look, show
from ssmd_cli.md_tail import Wanted, line
from ssmd_common.book import Book
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import NatsSettings
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port

PATIENCE_SECONDS = 180


@pytest_asyncio.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    connected = await nats.connect(nats_server.url)
    yield connected
    await connected.close()


@pytest.fixture
def settings(nats_server: NatsServer) -> NatsSettings:
    return NatsSettings(nats_url=SecretStr(nats_server.url))


async def ssmd(url: str, *words: str) -> tuple[int, str, str]:
    environment = {"PATH": os.environ["PATH"], "NATS_URL": url, "COLUMNS": "200"}
    done = await warm.ssmd(words, Path("/"), environment)
    return done.code, done.out, done.err


async def test_tail_shows_what_the_server_filters(
    client: Client, settings: NatsSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    await make_streams(client, shards=1)
    maker = Maker()
    await publish(
        client,
        maker.record("opened"),
        maker.trade("KXA-1.5"),
        maker.ticker("KXA-1.5", yes_bid="0.4100"),
        maker.trade("KXB-1"),
        # The secmaster does not know these yet.
        maker.trade("KXA-2", known=False),
        maker.trade("KXC-2", known=False),
        maker.record("gap", of_channel="trade", reason="sequence"),
    )
    await client.jetstream(timeout=60).publish("md.trade.KXA.E.X", b"not json")
    await publish(client, maker.trade("KXA-3"))
    books = Maker("b")
    await publish(client, books.snapshot("KXA-1.5", [("0.4000", "1.00")], []), shard=0)
    capsys.readouterr()

    async def told(limit: int, **wanted: Any) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await md_tail.tail(settings, Wanted(**wanted), 1, limit=limit, as_json=True)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    found = await told(4, series="KXA")
    assert [(one["channel"], one["ticker"]) for one in found] == [
        ("trade", "KXA-1.5"), ("ticker", "KXA-1.5"), ("trade", "KXA-2"), ("trade", "KXA-3"),
    ]  # fmt: skip
    found = await told(2, ticker="KXA-1.5")
    assert {one["ticker"] for one in found} == {"KXA-1.5"}
    assert [one["what"] for one in await told(2, channel="session")] == ["opened", "gap"]
    assert [one["channel"] for one in await told(1, channel="book")] == ["book"]
    with pytest.raises(ConfigurationError, match="of no market"):
        await told(1, channel="session", series="KXA")


async def test_tail_in_a_shell_says_what_is_wrong_in_a_sentence(
    nats_server: NatsServer, client: Client
) -> None:
    code, out, err = await ssmd(nats_server.url, "md", "tail", "--channel", "book")
    assert (code, out) == (3, "")
    assert err == (
        "ssmd: the stream MARKET_BOOKS_0 is not there: start connector with books in its scope, or "
        "check NATS_URL\n"
    )
    code, out, err = await ssmd(nats_server.url, "md", "book", "KXA", "--once")
    assert (code, out) == (3, "")
    assert err.startswith("ssmd: no books are captured: there is no stream MARKET_BOOKS_0")
    code, out, err = await ssmd(nats_server.url, "md", "tail", "--since", "0/1")
    assert code == 2
    assert "is an LSN" in err
    await make_streams(client)
    await publish(client, Maker().trade("KXA-1.5"))
    code, out, err = await ssmd(nats_server.url, "md", "tail", "--since", "1", "--limit", "1")
    assert (code, err) == (0, "")
    assert out.split(None, 1)[1] == "trade      KXA-1.5  10.00 at 0.4200  taker yes\n"


def test_each_kind_of_message_is_one_line() -> None:
    maker = Maker()
    for message, said in (
        (maker.ticker("M", yes_bid="0.4000"), "M  bid 0.4000  ask -  last -  volume -"),
        (maker.snapshot("M", [("0.1", "2")], [("0.3", "4")]), "M  snapshot of 2 levels"),
        (maker.delta("M", "no", "0.6000", "2.00"), "M  no 0.6000 +2.00"),
        (maker.delta("M", "no", "0.6000", "-2.00"), "M  no 0.6000 -2.00"),
        (maker.record("count", published={"trade": 1000}), "count  published trade 1,000"),
        (maker.record("repaired", trades=2, since="A", until="B"), "repaired  A to B  2 trades"),
    ):
        assert line(message).plain.endswith(said)


async def test_a_book_is_printed_and_doubted(
    client: Client, settings: NatsSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    await make_streams(client, shards=2)
    maker = Maker()
    await publish(
        client,
        maker.snapshot("KXA-M", [("0.4000", "5.00"), ("0.3900", "7.50")], [("0.4200", "3.00")]),
        maker.delta("KXA-M", "yes", "0.4100", "2.00"),
        maker.delta("KXA-M", "no", "0.4200", "-3.00"),
        maker.delta("KXA-M", "no", "0.4300", "1.00"),
        shard=1,
    )
    capsys.readouterr()
    await print_once(settings, "KXA-M", 10, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["bids"] == [["0.4100", "2.00"], ["0.4000", "5.00"], ["0.3900", "7.50"]]
    assert found["asks"] == [["0.4300", "1.00"]]
    assert (found["valid"], found["shard"]) == (True, 1)
    await print_once(settings, "KXA-M", 10, as_json=False)
    assert "    spread 0.0200" in capsys.readouterr().out
    await publish(client, maker.record("closed", reason="network"), shard=1)
    await print_once(settings, "KXA-M", 10, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert not found["valid"]
    assert found["doubt"].startswith("the capture ended at")
    with pytest.raises(NoBook, match="no book of KXA-X is captured"):
        await print_once(settings, "KXA-X", 10, as_json=True)


async def test_the_ladder_is_live_on_a_terminal(
    client: Client, nats_server: NatsServer, tmp_path: Path
) -> None:
    await make_streams(client, shards=1)
    maker = Maker()
    await publish(client, maker.snapshot("KXA-M", [("0.4000", "5.00")], []), shard=0)
    async with Terminal(
        "md", "book", "KXA-M", cwd=tmp_path, columns=60, lines=12, NATS_URL=nats_server.url
    ) as terminal:
        await terminal.shows("bid 0.4000 5.00", "no asks")
        await publish(
            client,
            maker.delta("KXA-M", "no", "0.4400", "2.00"),
            maker.delta("KXA-M", "yes", "0.4000", "-1.00"),
            shard=0,
        )
        lines = await terminal.shows("ask 0.4400 2.00", "bid 0.4000 4.00", "spread 0.0400")
        assert all(len(one) <= 60 for one in lines)
        await publish(client, maker.record("gap", of_channel="book"), shard=0)
        await terminal.shows("! messages were missed")
        await publish(client, maker.snapshot("KXA-M", [("0.1000", "1.00")], []), shard=0)
        lines = await terminal.shows("bid 0.1000 1.00", "no asks")
        assert not any("missed" in one for one in lines)
        terminal.press(b"q")
        assert await terminal.end() == 0


@given(
    st.dictionaries(st.integers(1, 99), st.integers(1, 10_000_000), max_size=40),
    st.dictionaries(st.integers(1, 99), st.integers(1, 10_000_000), max_size=40),
    st.integers(20, 200),
    st.integers(4, 50),
)
def test_a_ladder_never_has_more_lines_or_cells_than_there_are(
    bids: dict[int, int], asks: dict[int, int], width: int, height: int
) -> None:
    book = Book("KXA-M")
    levels = [[(f"{p / 100:.4f}", f"{n}.00") for p, n in side.items()] for side in (bids, asks)]
    book.begin(*levels, yes_price=True)
    lines = picture(
        book, 20, (width, height), age_seconds=1.0, changes=1, doubt="x" * 300,
        changed=None, styled=False,
    )  # fmt: skip
    assert len(lines) <= height
    assert all(len(one) <= width for one in lines)


async def test_status_tells_rates_gaps_and_what_is_wrong(
    client: Client, settings: NatsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    found = await look(settings)
    assert "MARKET_DATA does not exist" in found.problems[0]
    await make_streams(client, shards=1)
    maker = Maker(began=datetime.now(UTC))
    begun = maker.now
    await publish(
        client,
        maker.record("opened", at=begun),
        maker.record("subscribed", of_channel="trade", everything=True, at=begun),
        maker.record("count", published={"trade": 10}, at=begun),
        maker.record("gap", of_channel="trade", since="2026-11-29T10:00:00Z", at=begun),
        maker.record("repaired", trades=3, at=begun),
        maker.record("count", published={"trade": 110}),
        maker.record("count", published={"trade": 210}, dropped={"ticker": 4}),
    )
    found = await look(settings)
    assert [one.name for one in found.streams] == ["MARKET_DATA", "MARKET_BOOKS_0"]
    assert len(found.problems) == 2
    assert "4 messages found no room" in found.problems[0]
    assert "MARKET_BOOKS_0: no connection has said anything" in found.problems[1]
    [session] = document(found)["streams"][0]["sessions"]
    assert session["per_second"] == {"trade": 100.0}
    assert (session["repairs"], session["repaired_trades"]) == (1, 3)
    assert session["subscriptions"]["trade"]["markets"] is None
    await publish(client, maker.record("closed", reason="stopped"))
    found = await look(settings)
    assert "no connection has said anything since" in found.problems[0]


async def test_beside_connector_and_a_simulated_exchange(
    nats_server: NatsServer,
    database: Database,
    settings: NatsSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    key = tmp_path / "key.pem"
    key_at(key, "ed25519")
    async with Simulator(budget=0, ws_auth=False, market_rate=200, traded_markets=20) as sim:
        environment = {
            **os.environ, "DATABASE_URL": database.url, "NATS_URL": nats_server.url,
            "KALSHI_BASE_URL": sim.base_url, "KALSHI_WS_URL": sim.ws_url,
            "KALSHI_API_KEY": "anyone", "KALSHI_PRIVATE_KEY_PATH": str(key),
            "CONNECTOR_STREAM_MAX_BYTES": str(1 << 26), "CONNECTOR_COUNT_SECONDS": "0.2",
            "OPS_HOST": "127.0.0.1", "OPS_PORT": str(free_port()),
        }  # fmt: skip
        connector = await forked.start("ssmd_connector", env=environment)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (told := document(await look(settings)))["streams"] or not any(
                    (one["per_second"] or {}).get("trade") for one in told["streams"][0]["sessions"]
                ):
                    assert connector.returncode is None
                    await asyncio.sleep(0.1)
            [stream] = told["streams"]
            assert stream["connections"] == 1
            assert set(stream["sessions"][0]["subscriptions"]) == {"trade", "ticker"}
            assert stream["sessions"][0]["per_second"]["trade"] > 0
            capsys.readouterr()
            await md_tail.tail(settings, Wanted("trade"), 1, limit=5, as_json=True)
            made = {sim.floor.tape.id_of(trade.number).decode() for trade in sim.floor.tape.all()}
            said = capsys.readouterr().out.splitlines()
            assert {json.loads(line)["trade_id"] for line in said} <= made
            monkeypatch.setenv("DATABASE_URL", database.url)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    found = await look(settings)
                    service = document(found)["service"]
                    if service["position"].get("MARKET_DATA", 0) > 0:
                        break
                    await asyncio.sleep(0.1)
            [process] = service["processes"]
            position = process["position"]
            assert (position["channels_wanted"], position["channels_confirmed"]) == (2, 2)
            assert (position["books_wanted"], position["books_confirmed"]) == (0, 0)
            # Of each of its two channels the start is a gap.
            assert (position["connections"], position["gaps"], position["dropped"]) == (1, 2, 0)
            assert position["waiting"] >= 0
            assert process["lag_seconds"] >= 0
            show(found)
            shown = capsys.readouterr().out
            assert "connector" in shown
            assert "2 of 2 channels confirmed, 1 connection, " in " ".join(shown.split())
            assert "trade (all markets)" in shown
        finally:
            connector.terminate()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await connector.wait()
