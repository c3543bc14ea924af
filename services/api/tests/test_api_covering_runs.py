"""Which runs count for freshness, and which rows of theirs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_testbed import Client
from api_universe import insert

from ssmd_stack.database import Database


async def test_the_last_whole_run_and_those_after_it(api: Client, database: Database) -> None:
    """Of each job and scope; a run of an older sync has no `unread`, and covers all if it is ok."""
    now = datetime.now(UTC)

    async def run(minutes_ago: int, outcome: str, unread: list[str] | None, job: str = "j") -> None:
        at = now - timedelta(minutes=minutes_ago)
        row: dict[str, Any] = {"started_at": at, "finished_at": at, "outcome": outcome}
        async with database.connect() as connection:
            await insert(connection, "sync_runs", job=job, scope={}, unread=unread, **row)

    await run(180, "ok", None)
    await run(120, "ok", [])
    await run(60, "partial", ["X"])
    await run(50, "refused", ["Y"])
    await run(40, "partial", None)
    await run(30, "failed", None)
    await run(20, "ok", None, job="older sync")
    await run(10, "partial", ["Z"], job="never whole")
    found = await api.context.store.covering_runs()
    ages = [
        (round((now - datetime.fromisoformat(started)).total_seconds() / 60), unread)
        for _, started, _, unread in found
    ]
    assert ages == [(10, ["Z"]), (20, []), (50, ["Y"]), (60, ["X"]), (120, [])]


@pytest.mark.usefixtures("universe")
async def test_a_list_is_as_old_as_its_oldest_market(api: Client, database: Database) -> None:
    """Which PostgreSQL finds by groups, whatever the runs that count make of a market."""
    now = datetime.now(UTC)
    first, *_ = markets = await api.names("/v1/markets?status=active")
    runs: list[tuple[int, dict[str, Any], list[str]]] = [
        (900, {}, []),
        (600, {"mode": "active"}, []),
        (300, {"categories": ["Crypto"]}, []),
        (30, {}, [first]),
    ]
    async with database.connect() as connection:
        # One was never observed, and one in a year that only PostgreSQL has.
        await connection.execute(
            "UPDATE markets SET observed_at ="
            " CASE WHEN ticker <> %s THEN timestamptz '0044-03-15 BC' END"
            " WHERE ticker = ANY(%s)",
            (markets[1], markets[:2]),
        )
    for ago, scope, unread in [(0, None, []), *runs]:
        if scope is not None:
            at = now - timedelta(seconds=ago)
            row: dict[str, Any] = {"started_at": at, "finished_at": at, "outcome": "ok"}
            row |= {"scope": scope, "unread": unread, "job": f"j{ago}"}
            async with database.connect() as connection:
                await insert(connection, "sync_runs", **row)
            api.context.freshness.forget()
        for query in ("", "?status=active&limit=2", "?sort=-volume&limit=3&fields=title"):
            listed = await api.get(f"/v1/markets{query}")
            tickers = await api.names(f"/v1/markets{query.replace('&fields=title', '')}")
            ages = [
                int(its)
                for ticker in tickers
                if (its := (await api.get(f"/v1/markets/{ticker}")).headers.get("X-Ssmd-Age"))
            ]
            age = listed.headers.get("X-Ssmd-Age")
            assert (age is None) == (not ages), (scope, query)
            assert age is None or abs(int(age) - max(ages)) <= 20, (scope, query)
