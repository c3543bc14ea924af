"""`ssmd series sync`, `ssmd secmaster sync`, `ssmd fees sync` as a user runs them."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import warm
from warm import Done

from ssmd_common.exitcodes import ExitCode
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator

Ssmd = Callable[..., Awaitable[Done]]


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[Simulator]:
    async with Simulator("tiny", tempo=None, budget=0) as simulator:
        yield simulator


@pytest.fixture
def ssmd_environment(database: Any, exchange: Simulator, tmp_path: Path) -> dict[str, str]:
    """For a folder where `.ssmd/env` says where everything is."""
    (tmp_path / ".ssmd").mkdir()
    (tmp_path / ".ssmd" / "env").write_text(
        f"DATABASE_URL='{database.url}'\nKALSHI_BASE_URL={exchange.base_url}\n"
    )
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KALSHI") and name != "DATABASE_URL"
    }


@pytest.fixture
def ssmd(ssmd_environment: dict[str, str], tmp_path: Path) -> Ssmd:
    async def run(*arguments: str) -> Done:
        return await warm.ssmd(arguments, tmp_path, ssmd_environment)

    return run


async def count(database: Any, query: str) -> int:
    async with database.connect() as connection:
        row = await (await connection.execute(query)).fetchone()
    return int(row[0])


@pytest.mark.slow
async def test_everything_then_updates_then_fees(ssmd: Ssmd, database: Any) -> None:
    plan = await ssmd("secmaster", "sync", "--dry-run", "--json")
    assert plan.code == ExitCode.OK
    assert {step["step"] for step in plan.json["steps"]} >= {"series", "open events with markets"}
    assert plan.json["tokens"] == 10 * plan.json["requests"]
    assert plan.json["seconds"] == round(plan.json["tokens"] / 200, 1)
    assert await count(database, "SELECT count(*) FROM series") == 0
    assert await count(database, "SELECT count(*) FROM sync_runs") == 0

    full = await ssmd("secmaster", "sync", "--json")
    assert full.code == ExitCode.OK, full.err
    assert full.json["outcome"] == "ok"
    markets = await count(database, "SELECT count(*) FROM markets")
    total = full.json["total"]
    assert total["requests"] > 0
    assert {row["table"]: row["inserted"] for row in full.json["tables"]}["markets"] == markets
    again = await ssmd("secmaster", "sync", "--incremental", "--json")
    assert (again.code, again.json["total"]["requests"]) == (ExitCode.OK, 3)
    assert again.json["total"]["inserted"] == 0

    table = await ssmd("fees", "sync")
    assert table.code == ExitCode.OK
    header, *_, last = table.out.splitlines()
    assert " ".join(header.split()) == (
        "table fetched inserted updated unchanged deleted rejected_rows requests tokens seconds"
    )
    assert last.split()[0] == "all"


async def test_the_tags_and_games_of_a_scope(ssmd: Ssmd, database: Any, exchange: Any) -> None:
    tagged = {
        s.ticker
        for s in exchange.universe.series.values()
        if {"Basketball", "Hockey"} & set(s.tags or ())
    }
    wanted = {ticker for ticker in tagged if "GAME" in ticker or "MATCH" in ticker}
    others = tagged - wanted
    assert {"KXNBAGAME", "KXNHLGAME"} <= wanted
    done = await ssmd("series", "sync", "--tag=Basketball", "--tag=Hockey", "--games-only")
    assert done.code == ExitCode.OK, done.err
    [line] = [line.split() for line in done.out.splitlines() if line.startswith("series")]
    assert line[1:3] == [str(len(wanted) + len(others)), str(len(wanted))]
    async with database.connect() as connection:
        rows = await (await connection.execute("SELECT ticker FROM series")).fetchall()
    assert {row[0] for row in rows} == wanted


async def test_by_series_asks_for_every_series_of_the_tag(
    ssmd: Ssmd, database: Any, exchange: Any
) -> None:
    done = await ssmd("secmaster", "sync", "--by-series", "--tag=Soccer", "--json")
    assert done.code == ExitCode.OK, done.err
    series = await count(database, "SELECT count(*) FROM series")
    # One list of series, four lists for each, one of fee changes.
    assert done.json["total"]["requests"] >= 4 * series + 2
    stray = "SELECT count(*) FROM series WHERE NOT 'Soccer' = ANY(tags)"
    assert await count(database, stray) == 0


async def test_a_terminal_has_a_bar_with_the_time_that_is_left(
    ssmd_environment: dict[str, str], tmp_path: Path, exchange: Any
) -> None:
    exchange.faults.start(Fault("latency", path="/events", seconds=0.5))
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_cli", "secmaster", "sync", cwd=tmp_path, stderr=theirs,
        env={**ssmd_environment, "TERM": "xterm", "COLUMNS": "80"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()

    def drain() -> None:
        # A terminal whose last user is gone answers with an error.
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                shown.extend(chunk)

    async with asyncio.timeout(180):
        await asyncio.gather(asyncio.to_thread(drain), process.communicate())
    os.close(ours)
    assert process.returncode == ExitCode.OK
    text = shown.decode(errors="replace")
    assert "markets" in text
    assert "━" in text
    assert re.search(r"\d+/\d+", text)
    assert re.search(r"\d:\d\d", text)


async def test_a_scope_without_series_is_said(ssmd: Ssmd) -> None:
    done = await ssmd("secmaster", "sync", "--tag=soccer", "--category=Crpyto")
    assert done.code == ExitCode.NOT_FOUND
    assert "no series is in this scope" in done.err
    assert "the exchange has no tag soccer; it has Soccer" in done.err
    assert "the exchange has no category Crpyto; it has Crypto" in done.err


async def test_a_plan_says_what_of_its_scope_no_series_has(ssmd: Ssmd) -> None:
    """Of an empty database nothing can be said."""
    words = ("secmaster", "sync", "--category=Crpyto", "--category=Crypto", "--dry-run")
    empty = await ssmd(*words)
    assert (empty.code, "no series has" in empty.err) == (0, False)
    assert (await ssmd("series", "sync")).code == 0
    done = await ssmd(*words)
    assert done.code == 0
    assert "no series has the category 'Crpyto'; did you mean 'Crypto'?" in done.err
    none = await ssmd("secmaster", "sync", "--tag=Nothing at all", "--dry-run", "--json")
    assert none.code == ExitCode.NOT_FOUND
    assert none.json["series"] == 0
    assert "no series has the tag 'Nothing at all'" in none.err


async def test_flags_that_exclude_each_other(ssmd: Ssmd) -> None:
    done = await ssmd("secmaster", "sync", "--active-only", "--incremental")
    assert done.code == ExitCode.USAGE
    assert "exclude each other" in done.err
    assert not done.out


async def test_an_exchange_that_talks_nonsense_is_one_sentence(
    ssmd: Ssmd, exchange: Simulator, database: Any
) -> None:
    exchange.faults.start(Fault("garbage"))
    done = await ssmd("series", "sync")
    assert done.code == ExitCode.UPSTREAM
    assert "failed: series_list: the reply is not complete JSON" in done.err
    assert "Traceback" not in done.err
    assert await count(database, "SELECT count(*) FROM sync_runs WHERE outcome = 'failed'") == 1


async def test_data_goes_to_stdout_and_everything_else_to_stderr(ssmd: Ssmd) -> None:
    done = await ssmd("fees", "sync", "--json")
    assert done.json["outcome"] == "ok"
    assert "run finished" in done.err


async def test_rejected_fields_are_shown_and_no_failure(ssmd: Ssmd, exchange: Simulator) -> None:
    market = next(m for m in exchange.universe.unsettled if not m.event.multivariate)
    exchange.exchange.edit(market, {"title": 5}, exchange.clock())
    shown = await ssmd("secmaster", "sync")
    assert shown.code == ExitCode.OK
    [line] = [line for line in shown.err.splitlines() if "rejected field" in line]
    assert "markets.title of 1 rows" in line
    assert market.ticker in line
    again = await ssmd("secmaster", "sync", "--json")
    [field] = again.json["rejected_fields"]
    assert (field["table"], field["ticker"], field["field"]) == ("markets", market.ticker, "title")
