"""The whole service on a machine whose clock goes wrong, and right again, while it runs."""

import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from ssmd_common.exitcodes import ExitCode
from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.server import Simulator
from ssmd_stack.faketime import WrongClock


async def test_nothing_is_turned_or_stamped_by_a_wrong_clock(
    connection: psycopg.AsyncConnection[Any],
    start_service: Callable[..., Awaitable[Any]],
    eventually: Callable[..., Awaitable[Any]],
    wrong_clock: WrongClock,
) -> None:
    async def rows(query: str, *parameters: Any) -> list[Any]:
        return list(await (await connection.execute(query, parameters)).fetchall())

    async def status(ticker: str) -> str | None:
        found = await rows("SELECT status FROM markets WHERE ticker = %s", ticker)
        return found[0][0] if found else None

    async def steps(ticker: str) -> list[str]:
        found = await rows(
            "SELECT event_type FROM market_lifecycle_events WHERE market_ticker = %s ORDER BY id",
            ticker,
        )
        return [kind for (kind,) in found]

    async with Simulator("tiny") as sim:
        service = await start_service(sim, **wrong_clock.environment)
        await service.ready()
        [market, early] = [
            made.ticker for made in sim.control.script(ScriptedMarket(close_in=600, count=2))
        ]

        async def known() -> bool:
            return {await status(market), await status(early)} == {"active"}

        await eventually("two active markets", known)

        async def held() -> str:
            code, text = await service.get("/readyz")
            return json.loads(text)["reasons"].get("clock", "") if code == 503 else ""

        # Both markets would be closed by this clock.
        wrong_clock.set(700)
        why = await eventually("not ready for its clock", held)
        assert "the clock here is 700 s ahead of PostgreSQL's: which of the two is wrong" in why
        assert 695 < await service.metric("ssmd_clock_offset_seconds") < 705

        async def gives_up() -> bool:
            return await service.metric("ssmd_leader") == 0

        await eventually("another may lead", gives_up)
        [unheard] = [made.ticker for made in sim.control.script(ScriptedMarket(close_in=600))]
        assert "closed" not in await steps(market)
        # As one that did not look left it.
        await connection.execute(
            "UPDATE markets SET status = 'closed', observed_via = 'clock',"
            " observed_at = now() + interval '700 s' WHERE ticker = %s",
            (early,),
        )
        wrong_clock.set(0)
        await service.ready()

        async def told() -> bool:
            return "turned_back" in await steps(early) and "created" in await steps(unheard)

        await eventually("what was turned is turned back, what was unheard is read", told)
        assert {await status(ticker) for ticker in (market, early, unheard)} == {"active"}
        assert "closed" not in await steps(market)
        for stamped in (
            "SELECT ticker FROM markets WHERE observed_at > now() + interval '60 s'",
            "SELECT id FROM market_lifecycle_events WHERE received_at > now() + interval '60 s'",
            "SELECT id FROM lifecycle_gaps WHERE ended_at > now() + interval '60 s'",
        ):
            assert await rows(stamped) == []
        # In the other direction it would be late, and what it stamps would look old.
        wrong_clock.set(-700)
        assert "700 s behind PostgreSQL's" in await eventually("not ready", held)
        wrong_clock.set(0)
        await service.ready()
        assert await service.kill(signal.SIGTERM) == ExitCode.OK
