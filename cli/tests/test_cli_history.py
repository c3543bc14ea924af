"""--as-of, history and diff: what was known when, on the command line."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from shell import Shell, serving

from ssmd_cli.secmaster_history import compared
from ssmd_common import apikeys
from ssmd_stack.database import Database

BEGINNING = (
    "INSERT INTO series (ticker, category) VALUES ('KXA', 'Crypto'), ('KXB', 'World')",
    "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA'), ('KXB-1', 'KXB')",
    (
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, yes_bid) VALUES"
        " ('KXA-1-T', 'KXA-1', 'KXA', 'active', 40), ('KXA-1-S', 'KXA-1', 'KXA', 'active', 41),"
        " ('KXB-1-T', 'KXB-1', 'KXB', 'active', 42)"
    ),
)
CHANGES = (
    "UPDATE markets SET status = 'closed', result = 'yes' WHERE ticker = 'KXA-1-T'",
    "UPDATE markets SET deleted_at = now() WHERE ticker = 'KXA-1-S'",
    "UPDATE markets SET yes_bid = 50",
    (
        "INSERT INTO markets (ticker, event_ticker, series_ticker)"
        " VALUES ('KXA-1-U', 'KXA-1', 'KXA')"
    ),
    "UPDATE series SET category = 'Else' WHERE ticker = 'KXB'",
    "UPDATE fees SET taker_fee = 0.08",
)


class Past(NamedTuple):
    shell: Shell
    at: str
    """A moment between `BEGINNING` and `CHANGES`."""


@pytest_asyncio.fixture
async def past(database: Database, tmp_path: Path) -> AsyncIterator[Past]:
    key = apikeys.generate("test")
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('t', %s, %s, '{read}', 100000)",
            (key.prefix, key.hash),
        )
        for statement in BEGINNING:
            await connection.execute(statement)
        [(at,)] = await (await connection.execute("SELECT clock_timestamp()")).fetchall()
        for statement in CHANGES:
            await connection.execute(statement)
    async with serving(database, key.text, tmp_path) as shell:
        yield Past(shell, at.astimezone(UTC).isoformat().replace("+00:00", "Z"))


async def test_read_verbs_as_of_a_moment(past: Past) -> None:
    async def then(*words: str) -> Any:
        return await past.shell.json(*words, "--as-of", past.at)

    active = ("secmaster", "list", "--status", "active")
    assert len(await past.shell.json(*active)) == 1
    found = await then(*active)
    assert [row["ticker"] for row in found] == ["KXA-1-S", "KXA-1-T", "KXB-1-T"]
    assert {row["yes_bid"] for row in found} == {None}
    assert (await then("secmaster", "show", "KXA-1-T"))["status"] == "active"
    assert (await then("secmaster", "stats"))["markets"]["by_status"]["active"] == 3
    found = await then("series", "list", "--category", "World")
    assert [row["ticker"] for row in found] == ["KXB"]
    [tier] = await past.shell.json("fees", "list", "--known-at", past.at)
    assert tier["taker_fee"] != "0.080000"
    done = await past.shell.run("secmaster", "export", "--series", "KXA", "--as-of", past.at)
    rows = json.loads(done.out)
    assert [row["status"] for row in rows] == ["active", "active"]
    # How long ago is the same moment on each page; what is before the record is said to be.
    for now in ("-0s", "0s"):
        assert await past.shell.json("secmaster", "list", "--as-of", now, "--limit", "2")
    done = await past.shell.run("secmaster", "list", "--as-of", "-5w")
    assert done.code == 2
    assert re.search(r"begins at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", done.err), done.err


async def test_history_of_a_ticker(past: Past) -> None:
    document = await past.shell.json("secmaster", "history", "KXA-1-T")
    assert [each["kind"] for each in document["history"]] == ["changed", "added"]
    assert document["history"][0]["changes"]["status"] == {"old": "active", "new": "closed"}
    done = await past.shell.run("secmaster", "history", "KXB", "--limit", "1")
    assert "category: World → Else" in done.out
    assert "the record begins at" in done.err
    assert "there are more than 1" in done.err
    assert (await past.shell.run("secmaster", "history", "NONE")).code == 3


async def test_diff_of_two_moments(past: Past) -> None:
    found = await past.shell.json("secmaster", "diff", "--from", past.at)
    assert [(row["change"], row["table"], row["key"]) for row in found] == [
        ("changed", "series", "KXB"),
        ("removed", "markets", "KXA-1-S"),
        ("changed", "markets", "KXA-1-T"),
        ("added", "markets", "KXA-1-U"),
        ("changed", "markets", "KXB-1-T"),
        ("changed", "fees", "default"),
    ]
    assert found[4]["changes"] == {"category": {"old": "World", "new": "Else"}}
    assert found[2]["changes"] == {
        "status": {"old": "active", "new": "closed"},
        "result": {"old": None, "new": "yes"},
    }
    words = ("secmaster", "diff", "--from", past.at, "--to", past.at)
    assert await past.shell.json(*words) == []
    done = await past.shell.run("secmaster", "diff", "--from", past.at, "--series", "KXA")
    assert "status: active → closed; result: nothing → yes" in done.out
    assert "KXB" not in done.out
    assert (await past.shell.run("secmaster", "diff", "--from", "2100-01-01")).code == 2


def test_what_differs_is_found_by_keys() -> None:
    before = {"a": json.dumps({"x": 1}).encode(), "b": json.dumps({"x": 1}).encode()}
    after = {"b": json.dumps({"x": 2}).encode(), "c": json.dumps({"x": 3}).encode()}
    assert [(row["change"], row["key"]) for row in compared("t", before, after)] == [
        ("removed", "a"),
        ("changed", "b"),
        ("added", "c"),
    ]


@pytest.mark.parametrize("ago", ["-999999w", "-1y", "24 hours"])
async def test_moments_that_are_none(past: Past, ago: str) -> None:
    assert (await past.shell.run("secmaster", "list", "--as-of", ago)).code == 2
