"""Times that PostgreSQL can hold and Python cannot count as none in what sync reads."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from ssmd_stack.database import Database
from ssmd_store.pages import Store
from ssmd_sync.runlog import RunLog

FAR = ["-infinity", "infinity", "0044-03-15 12:00:00+00 BC", "15000-06-01 00:00:00+00"]


@pytest.mark.parametrize("far", FAR)
async def test_what_a_run_reads(database: Database, far: str) -> None:
    async with Store.open(SecretStr(database.url), "t", 30) as store:
        execute = store.connection.execute
        await execute(
            "INSERT INTO sync_runs (job, scope, started_at, finished_at, outcome) VALUES"
            " ('a', '{}', %s, now(), 'ok'), ('a', '{}', '2026-11-21Z', %s, 'ok')",
            (far, far),
        )
        await execute(
            "INSERT INTO sync_watermarks (name, watermark) VALUES ('far', %s), ('near', now())",
            (far,),
        )
        await execute("INSERT INTO series (ticker) VALUES ('KXA')")
        await execute(
            "INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from)"
            " VALUES ('KXA', 'flat', 1, %s)",
            (far,),
        )
        log = RunLog(store.connection)
        [run] = await log.last_runs("a")
        assert (run.started_at, run.finished_at) == (datetime(2026, 11, 21, tzinfo=UTC), None)
        assert set(await log.watermarks()) == {"near"}
        [step] = (await log.fee_schedules())["KXA"]
        assert step.effective_from.year == 1
