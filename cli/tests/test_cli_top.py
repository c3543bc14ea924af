"""`ssmd top` and `--watch` in a real terminal, and the figures that they show."""

import asyncio
import json
from collections.abc import AsyncIterator

import nats
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from nats.js.client import JetStreamContext
from shell import TICKER, Shell
from terminals import Terminal

from ssmd_cli.rates import Rates
from ssmd_cli.top_feed import data_of
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects


@pytest_asyncio.fixture
async def js(nats_server: NatsServer) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_server.url)
    yield client.jetstream(timeout=60)
    await client.close()


async def publish(js: JetStreamContext, sequence: int, kind: str, row: dict[str, str]) -> None:
    """A change of a market, as the publisher writes it."""
    message = {
        "v": 1, "lsn": f"0/{sequence:X}", "seq": 0, "xid": 7, "epoch": 1, "table": "markets",
        "op": "update", "type": kind, "ticker": row["ticker"], "key": {"ticker": row["ticker"]},
        "data": row, "timestamp": "2026-02-03T22:05:00Z",
    }  # fmt: skip
    await js.publish(
        subjects.subject("markets", "update", row),
        json.dumps(message).encode(),
        headers={"Nats-Msg-Id": f"1:0/{sequence:X}:0", "Ssmd-Type": kind},
    )


MARKET = {"ticker": TICKER, "event_ticker": "KXBTCD-26FEB03", "series_ticker": "KXBTCD"}


@pytest.mark.parametrize("columns", [60, 120])
async def test_top_shows_what_moves_what_closes_and_each_lag(
    streaming_shell: Shell, js: JetStreamContext, columns: int
) -> None:
    async with Terminal(
        "top", "--every", "0.5", cwd=streaming_shell.directory, columns=columns,
        **streaming_shell.variables,
    ) as terminal:  # fmt: skip
        await terminal.shows("by type", "by category", TICKER)

        async def keep_changing() -> None:
            sequence = 0
            while True:
                sequence += 1
                await publish(js, sequence, "market_updated", MARKET)
                await asyncio.sleep(0.05)

        changing = asyncio.create_task(keep_changing())
        lines = await terminal.shows("market_updated", "Crypto", "2 h 5")
        changing.cancel()
        assert all(len(line) <= columns for line in lines)
        title = next(line for line in lines if line.startswith("ssmd top"))
        assert "q ends" in title or columns == 60
        assert any(line.startswith("service") and "lag" in line for line in lines)
        # Beside each other where there is room, below each other where there is none.
        assert any("by type" in line and "by category" in line for line in lines) == (columns > 60)
        terminal.press(b"q")
        assert await terminal.end() == 0
        assert terminal.raw.rstrip().endswith(b"\x1b[?1049l")


async def test_top_ends_with_ctrl_c_and_refuses_a_pipe(
    streaming_shell: Shell,
) -> None:
    async with Terminal(
        "top", cwd=streaming_shell.directory, **streaming_shell.variables
    ) as terminal:
        await terminal.shows("by type")
        terminal.process.send_signal(2)
        assert await terminal.end() == 0
        assert b"Traceback" not in terminal.raw
    refused = await streaming_shell.run("top")
    assert refused.code == 2
    assert "--once" in refused.err


async def test_a_watch_marks_what_changed(shell: Shell, database: Database) -> None:
    async with Terminal(
        "secmaster", "list", "--status", "active", "--watch", "0.3", "--fields", "ticker,volume",
        cwd=shell.directory, columns=60, **shell.variables,
    ) as terminal:  # fmt: skip
        await terminal.shows(TICKER, "every 0.3 s")
        assert f"\x1b[1m{TICKER}".encode() not in terminal.raw
        async with database.connect() as connection:
            await connection.execute(
                "UPDATE markets SET volume = 4711 WHERE ticker = %s", (TICKER,)
            )
        await terminal.shows("4711")
        assert f"\x1b[1m{TICKER}".encode() in terminal.raw
        terminal.press(b"q")
        assert await terminal.end() == 0


async def test_a_list_fits_sixty_columns(shell: Shell) -> None:
    for words in (
        ["secmaster", "list", "--limit", "3"],
        ["series", "list"],
        ["secmaster", "stats"],
    ):
        async with Terminal(*words, cwd=shell.directory, columns=60, **shell.variables) as terminal:
            assert await terminal.end() == 0
            table = [line for line in terminal.raw.decode().splitlines() if "narrow" not in line]
            widths = [len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) for line in table]
            assert max(widths) <= 62, terminal.raw.decode()


def test_rates_count_whole_seconds() -> None:
    rates = Rates(100.5)
    for at in (100.6, 101.1, 101.2, 102.9):
        rates.add("a", at)
    assert rates.per_second(100.9, 5) == {}
    assert rates.per_second(102.0, 5) == {"a": 1.5}
    assert rates.per_second(103.0, 1) == {"a": 1.0}
    assert rates.per_second(200.0, 5) == {}
    assert rates.total["a"] == 4


@given(st.lists(st.integers(0, 200), max_size=300).map(sorted), st.integers(1, 60))
def test_rates_are_the_counts_of_their_span(times: list[int], span: int) -> None:
    rates = Rates(-1000.0)
    for at in times:
        rates.add("x", float(at))
    now = times[-1] if times else 0
    expected = sum(now - span <= at < now for at in times)
    assert rates.per_second(float(now), span).get("x", 0.0) * span == pytest.approx(expected)


@given(st.integers(1, 40))
def test_data_of_events_in_pieces_of_any_size(size: int) -> None:
    text = (
        b'retry: 5\n\nid: 1\nevent: x\ndata: {"a":1}\n\n: keep\nid: 2\n\nid: 3\ndata: {"b":2}\n\n'
    )
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert list(data_of(pieces, lambda: None)) == [b'{"a":1}', b'{"b":2}']
