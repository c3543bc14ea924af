"""`ssmd cache verify` and `ssmd cache rebuild` as a user runs them."""

import json
import os
from pathlib import Path
from typing import Any

import nats
import pytest
import redis.asyncio as aioredis
import warm

PATIENCE_SECONDS = 180
UNIVERSE = """
INSERT INTO series (ticker, category) VALUES ('S', 'C');
INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S');
INSERT INTO markets (ticker, event_ticker, series_ticker, status)
    SELECT 'M' || n, 'E', 'S', 'active' FROM generate_series(1, 10) n;
"""


@pytest.fixture
async def home(tmp_path: Path, database: Any, nats_server: Any, valkey_server: Any) -> Path:
    """A directory in which `ssmd up` left its file, with rows and no cache service."""
    (tmp_path / ".ssmd").mkdir()
    (tmp_path / ".ssmd" / "env").write_text(
        f"DATABASE_URL={database.url}\nNATS_URL={nats_server.url}\n"
        f"export REDIS_URL='{valkey_server.url}'\nLOG_LEVEL=nonsense\n"
    )
    async with database.connect() as connection:
        await connection.execute(UNIVERSE)
    client = await nats.connect(nats_server.url)
    await client.jetstream(timeout=60).add_stream(name="SECMASTER_CDC", subjects=["cdc.>"])
    await client.close()
    return tmp_path


async def ssmd(home: Path, *arguments: str, **more: str) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    environment = {**kept, "LOG_LEVEL": "INFO", "NO_COLOR": "1", **more}
    return await warm.ssmd(("cache", *arguments), home, environment)


async def test_a_row_that_cannot_be_read_is_named_and_no_drift(home: Path, database: Any) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET extra = (repeat('[', 2000) || repeat(']', 2000))::jsonb"
            " WHERE ticker = 'M1'"
        )
    code, _, err = await ssmd(home, "rebuild")
    assert code == 0, err
    code, out, err = await ssmd(home, "verify", "--fix")
    assert code == 5, err
    assert out == "unreadable row in PostgreSQL: markets M1: nested more than 256 deep\n"
    assert "no difference in 12 rows" in err
    assert "warm-up" not in err
    code, out, _ = await ssmd(home, "verify", "--sample", "10", "--json")
    assert (code, json.loads(out)["unreadable"][0]["ticker"]) == (5, "M1")


@pytest.mark.slow
async def test_drift_is_named_fixed_and_gone(home: Path, valkey_server: Any) -> None:
    code, out, err = await ssmd(home, "verify")
    assert code == 6, err
    assert "secmaster:series:S:E:M1\tvalue\texpected" in out
    assert "differences in 12 rows" in err
    code, out, err = await ssmd(home, "rebuild")
    assert (code, "rebuilt at" in out) == (0, True), err
    assert "made from here" in err
    code, out, err = await ssmd(home, "verify", "--full")
    assert (code, out) == (0, ""), err
    assert "no difference in 12 rows" in err
    redis = aioredis.Redis.from_url(valkey_server.url)
    await redis.delete("secmaster:series:S:E:M1")
    await redis.hset("secmaster:markets", "X", "nowhere")
    code, out, _ = await ssmd(home, "verify", "--json")
    report = json.loads(out)
    assert code == 6
    assert [(d["key"], d["field"], d["found"]) for d in report["differences"]] == [
        ("secmaster:markets", "X", "nowhere"),
        ("secmaster:series:S:E:M1", "value", None),
    ]
    code, out, err = await ssmd(home, "verify", "--fix", "--json")
    assert code == 0, err
    assert json.loads(out)["rebuilt"] is True
    assert json.loads(out)["differences"] == []
    code, _, err = await ssmd(home, "verify", "--sample", "3")
    assert code == 0, err
    await redis.aclose()


@pytest.mark.slow
async def test_what_is_wrong_is_one_sentence(home: Path, tmp_path: Path) -> None:
    code, _, err = await ssmd(home, "verify", "--full", "--sample", "2")
    assert code == 2, err
    code, _, err = await ssmd(home, "verify", REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 4
    said, advised = err.strip().splitlines()[-2:]
    assert said.startswith("ssmd: Redis did not answer")
    assert "REDIS_URL in this shell is not that of the system" in advised
    code, _, err = await ssmd(home, "verify", DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert code == 4
    assert "PostgreSQL did not answer" in err
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    code, _, err = await ssmd(empty, "verify")
    assert code == 2
    assert "DATABASE_URL: is missing" in err
