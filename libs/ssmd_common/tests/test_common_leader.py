"""Leadership of a process that is late itself, and of one whose server is silent."""

import asyncio
import time
from typing import Any

import pytest
from pydantic import SecretStr

from ssmd_common import leader
from ssmd_common.errors import LeadershipLost
from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_stack.proxy import TcpProxy


async def lead_and_be_away(url: str, away: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        async with leader.lead(runtime, SecretStr(url), "test", budget_seconds=30) as leading:
            assert leading is not None
            await away()


async def test_one_that_was_away_itself_still_leads(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was there, and the timer was due first."""
    monkeypatch.setattr(leader, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(leader, "ANSWER_SECONDS", 0.1)
    execute, asked = leader.psycopg.AsyncConnection.execute, 0

    async def ask_and_be_away(self: Any, query: Any, *more: Any, **options: Any) -> Any:
        nonlocal asked
        if query == leader._HOLDER:
            asked += 1
            # As if the process was stopped between asking and hearing.
            asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        return await execute(self, query, *more, **options)

    monkeypatch.setattr(leader.psycopg.AsyncConnection, "execute", ask_and_be_away)

    async def some_rounds() -> None:
        while asked < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    await lead_and_be_away(database.url, some_rounds)


async def test_one_whose_server_is_silent_ends(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(leader, "ANSWER_SECONDS", 0.5)
    asked_to_cancel = []

    async def cancel_safe(self: Any, **_: Any) -> None:
        asked_to_cancel.append(self)

    monkeypatch.setattr(leader.psycopg.AsyncConnection, "cancel_safe", cancel_safe)
    async with TcpProxy(database.url) as between:

        async def silence() -> None:
            between.freeze()
            await asyncio.sleep(60)

        with pytest.raises(ExceptionGroup) as caught:
            await lead_and_be_away(between.url, silence)
        assert caught.group_contains(LeadershipLost)
        # Whoever asks a silent server to do that waits for it, and believes to lead meanwhile.
        assert not asked_to_cancel
        between.thaw()
