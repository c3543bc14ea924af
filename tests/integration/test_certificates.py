"""A quick day of the simulated exchange, captured and archived by real services, and certified."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import archived
import nats
import pytest
from made_market_data import make_streams
from nats.aio.msg import Msg
from started_service import running

from ssmd_simulator.server import Simulator
from ssmd_simulator.settings import QUICK
from ssmd_simulator.signatures import key_at
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer

PATIENCE_SECONDS = 300
MARKETS = 12


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


async def certify(root: Path, base_url: str, *words: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_cli", "archive", "certify", *words, "--root", str(root),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=root.parent,
        env={**os.environ, "KALSHI_BASE_URL": base_url},
    )  # fmt: skip
    out, err = await child.communicate()
    return child.returncode or 0, out.decode(), err.decode()


async def trade_new(sim: Simulator, born: float) -> None:
    """What the floor trades least are the markets that are new."""
    while True:
        now = sim.clock()
        for market in list(sim.universe.unsettled):
            if market.life.open > born and market.status(now) == "active":
                sim.exchange.trade(market)
        await asyncio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_certificates_hold_for_every_market_of_a_quick_day(
    database: Database, nats_server: NatsServer, tmp_path: Path
) -> None:
    key, root = tmp_path / "key.pem", tmp_path / "archive"
    key_at(key, "ed25519")
    client = await nats.connect(nats_server.url)
    [stream] = await make_streams(client)
    captured = set[str]()

    async def note(message: Msg) -> None:
        # A process that starts asks with an empty one whether it may publish; it is not stored.
        if message.data:
            captured.add(json.loads(message.data)["trade_id"])

    await client.subscribe("md.trade.>", cb=note)
    shared = {"DATABASE_URL": database.url, "NATS_URL": nats_server.url}
    archiving = {
        **shared, "ARCHIVER_ROOT": str(root), "ARCHIVER_ROTATE_SECONDS": "5",
        "ARCHIVER_FLUSH_SECONDS": "0.1", "ARCHIVER_STREAMS": "MARKET_DATA",
    }  # fmt: skip
    async with (
        Simulator(budget=0, ws_auth=False, tempo=QUICK, market_rate=1500) as sim,
        running("archiver", **archiving),
    ):
        connecting = {
            **shared, "KALSHI_BASE_URL": sim.base_url, "KALSHI_WS_URL": sim.ws_url,
            "KALSHI_API_KEY": "anyone", "KALSHI_PRIVATE_KEY_PATH": str(key),
            "KALSHI_READ_BUDGET": "10000", "CONNECTOR_STREAM_MAX_BYTES": str(1 << 28),
            "CONNECTOR_COUNT_SECONDS": "0.5",
        }  # fmt: skip
        async with running("connector", **connecting) as connector:
            await until(lambda: bool(captured))
            born = sim.clock()

            def settled() -> list[str]:
                """Markets that opened and settled while everything was running."""
                now = sim.clock()
                return [
                    market.ticker for market in sim.universe.markets.values()
                    if market.life.open > born and market.life.settled < now
                ]  # fmt: skip

            crowd = asyncio.create_task(trade_new(sim, born))
            await until(lambda: len(settled()) >= MARKETS // 2)
            sim.hub.disconnect()
            await until(lambda: len(settled()) >= MARKETS)
            assert not crowd.done(), await crowd
            crowd.cancel()
            sim.floor.set_rate(0)
            tape, tickers = sim.floor.tape, settled()
            made = {
                tape.id_of(one.number).decode() for ticker in tickers for one in tape.all(ticker)
            }
            await until(lambda: made <= captured)
            connector.terminate()
            await connector.wait()
        last = (await stream.info()).last_sequence
        await until(lambda: archived.reached(root / "MARKET_DATA") >= last)
        await client.close()

        code, out, err = await certify(root, sim.base_url, *tickers, "--json")
        found = {one["ticker"]: one for one in json.loads(out)}
        bad = {
            ticker: (one["result"], one["why"]) for ticker, one in found.items()
            if one["result"] not in ("complete", "repaired")
        }  # fmt: skip
        assert (bad, code) == ({}, 0), err
        assert all(one["exchange"]["trades"] for one in found.values())
        assert {one["market"]["status"] for one in found.values()} == {"finalized"}
        code, _, err = await certify(root, "http://127.0.0.1:1", "--check")
        assert code == 0, err
        # The day has more, whose trades nobody captured: none of them is called whole.
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        code, out, err = await certify(root, sim.base_url, "--date", day, "--json")
        results = {one["result"] for one in json.loads(out)}
        assert "complete" in results
        assert not results & {"missing", "extra", "different", "damaged"}, err

        # A file that is gone takes the proof of every market away that may have trades in it.
        with_trades = next(one for one in found.values() if one["archive"]["files"])
        (root / "MARKET_DATA" / with_trades["archive"]["files"][0]["path"]).unlink()
        code, out, err = await certify(root, sim.base_url, with_trades["ticker"], "--json")
        assert (code, json.loads(out)[0]["result"]) == (6, "damaged"), err
