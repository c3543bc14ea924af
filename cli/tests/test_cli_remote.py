"""`ssmd secmaster sync --remote` and `ssmd cache verify --remote`: a service does it."""

import asyncio
import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from shell import Shell
from warm import Done

from ssmd_common import requests
from ssmd_common.exitcodes import ExitCode
from ssmd_stack.database import Database

SYNCED = {"job": "quotes", "outcome": "ok", "message": None, "requests": 3, "fetched": 7}
DIFFERENCE = {"key": "k", "field": "title", "expected": "a", "found": None}
COMPARED = {
    "rows": 5,
    "entries": 9,
    "drift": 0,
    "differences": [],
    "unreadable": 0,
    "unreadable_rows": [],
}


async def answered(
    shell: Shell, database: Database, words: str, result: Any, error: str | None = None
) -> Done:
    """What the command says, while a service of ours answers it."""
    async with database.connect() as connection:
        await connection.execute("UPDATE api_keys SET scopes = '{read,admin}'")
        await connection.execute(
            "INSERT INTO service_status (service, instance, host, pid, state, ready, reasons,"
            " degraded, position, work, errors, version, started_at, updated_at)"
            " VALUES ('sync', '0', 'h', 1, 'leading', true, '{}', '{}', %s, 0, 0, '1', now(),"
            " now()) ON CONFLICT DO NOTHING",
            (Jsonb({"jobs": {"quotes": {}}}),),
        )
        await connection.execute("LISTEN ssmd_requests")
        running = asyncio.create_task(shell.run(*words.split()))
        async for _ in connection.notifies(timeout=60, stop_after=1):
            pass
        service, task = ("sync", "quotes") if "sync" in words else ("cache", "verify")
        taken = await requests.take(connection, service, task)
        await requests.answer(connection, taken, result, error)
        return await running


async def test_a_job_runs_elsewhere_and_its_outcome_is_the_exit_code(
    shell: Shell, database: Database
) -> None:
    words = "secmaster sync --remote --job quotes"
    done = await answered(shell, database, f"{words} --json", SYNCED)
    assert done.code == ExitCode.OK, done
    assert json.loads(done.out)["result"] == SYNCED
    assert "/v1/requests/1" in done.err
    done = await answered(shell, database, words, {**SYNCED, "outcome": "partial"})
    assert done.code == ExitCode.PARTIAL
    assert "quotes" in done.out
    done = await answered(shell, database, words, None, "the exchange is away")
    assert done.code == ExitCode.FAILED
    assert "the exchange is away" in done.err


async def test_a_comparison_runs_elsewhere_and_drift_is_6(shell: Shell, database: Database) -> None:
    words = "cache verify --remote"
    done = await answered(shell, database, words, COMPARED)
    assert done.code == ExitCode.OK, done
    drifted = {**COMPARED, "drift": 1, "differences": [DIFFERENCE]}
    done = await answered(shell, database, words, drifted)
    assert done.code == ExitCode.DRIFT
    assert 'k\ttitle\texpected "a"\tfound null' in done.out
    assert (await answered(shell, database, words, None, "Redis: away")).code == ExitCode.FAILED


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("secmaster sync --remote --by-series", ExitCode.USAGE, "--job alone"),
        ("secmaster sync --remote --dry-run", ExitCode.USAGE, "exclude each other"),
        ("secmaster sync --job quotes", ExitCode.USAGE, "--job is for --remote"),
        # Its key has the scope read.
        ("secmaster sync --remote", ExitCode.USAGE, "'admin'"),
    ],
)
async def test_what_does_not_go_together(
    shell: Shell, words: str, code: ExitCode, says: str
) -> None:
    done = await shell.run(*words.split())
    assert done.code == code
    assert says in done.err
