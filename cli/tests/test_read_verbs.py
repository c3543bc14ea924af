"""series, secmaster and fees list and show over a real API; keys over a real database."""

import asyncio
import csv
import io
import json
import os
import sys

import pytest
from shell import TICKER, TITLE, Shell

from ssmd_common import apikeys
from ssmd_stack.ports import free_port


async def test_secmaster_list_filters(shell: Shell) -> None:
    for words in (
        ["--status", "active"],
        ["--expiring-within", "24h"],
        ["--closing-after", "0s", "--closing-before", "4h"],
        ["--category", "Crypto", "--series", "KXBTCD", "--status", "open"],
        ["--q", "bitcoin coin"],
        ["--series", "KXBTCD", "--series", "NONE", "--where", "trading=yes"],
        ["--where", "close_time.gt=0s", "--where", "close_time.lte=4h", "--sort", "ticker"],
        ["--where", f"ticker={TICKER}", "--where", "ticker=NONE", "--sort", "-volume,close_time"],
    ):
        found = await shell.json("secmaster", "list", *words)
        assert [row["ticker"] for row in found] == [TICKER], words
    assert await shell.json("secmaster", "list", "--expiring-within", "1h") == []
    assert await shell.json("secmaster", "list", "--category", "crypto") == []
    done = await shell.run("secmaster", "list", "--count", "exact", "--limit", "1")
    assert "1201 in all" in done.err
    done = await shell.run("secmaster", "list", "--where", "volume_min=5")
    assert (done.code, "the nearest is volume.gte" in done.err) == (2, True)
    done = await shell.run("secmaster", "list", "--where", "volume.gte")
    assert (done.code, "is not NAME=VALUE" in done.err) == (2, True)


async def test_secmaster_list_pages_to_its_limit(shell: Shell) -> None:
    assert len(await shell.json("secmaster", "list", "--limit", "0")) == 1201
    done = await shell.run("secmaster", "list", "--limit", "1100", "--json")
    assert len(json.loads(done.out)) == 1100
    assert "more than 1100" in done.err


async def test_a_table_shows_text_as_it_is(shell: Shell) -> None:
    """No markup, no escape sequences, no cut columns, no colours in a pipe."""
    done = await shell.run("secmaster", "list", "--status", "active")
    assert done.code == 0
    assert TICKER in done.out
    assert "[bold]Bitcoin[/bold]" in done.out
    assert "\x1b" not in done.out


async def test_csv_can_be_read_again(shell: Shell) -> None:
    done = await shell.run("secmaster", "list", "--status", "active", "--csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["ticker"] == TICKER
    assert row["title"] == TITLE
    assert json.loads(row["event"])["event_ticker"] == "KXBTCD-26FEB03"


async def test_show_finds_what_a_ticker_names(shell: Shell) -> None:
    assert (await shell.json("secmaster", "show", TICKER))["event"]["status"] == "open"
    assert len((await shell.json("secmaster", "show", "KXBTCD-26FEB03"))["markets"]) == 1201
    assert (await shell.json("secmaster", "show", "KXBTCD"))["counts"]["markets"]["active"] == 1
    for ticker in (TICKER, "KXBTCD-26FEB03", "KXBTCD"):
        done = await shell.run("secmaster", "show", ticker)
        assert done.code == 0
        assert ticker in done.out


async def test_series_and_fees(shell: Shell) -> None:
    found = await shell.json("series", "list", "--tag", "BTC", "--category", "Crypto", "--active")
    assert [row["ticker"] for row in found] == ["KXBTCD"]
    assert await shell.json("series", "list", "--games-only") == []
    assert (await shell.json("fees", "list"))[0]["tier"] == "default"
    fee = await shell.json("fees", "list", "KXBTCD", "--price", "0.5", "--count", "100")
    assert fee["fee"]["cost"]["taker_dollars"] == "1.7500"
    done = await shell.run("fees", "list", "KXBTCD", "--price", "0.5")
    assert "quadratic" in done.out
    assert "taker 0.0175" in done.err


async def test_search_export_and_stats(shell: Shell) -> None:
    found = await shell.json("secmaster", "search", "bitcoin", "rise", "--kind", "market")
    assert [row["ticker"] for row in found] == [TICKER]
    assert (await shell.run("secmaster", "search", "kxbtcd")).out.index("series") > 0
    done = await shell.run("secmaster", "export", "--status", "settled")
    assert (done.code, len(json.loads(done.out))) == (0, 1200)
    done = await shell.run("secmaster", "export", "--file", "all.jsonl")
    assert (done.code, done.out) == (0, "")
    lines = (shell.directory / "all.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 1201
    refused = await shell.run(
        "secmaster", "export", "--entity", "series", "--status", "open", "--file", "none.csv"
    )
    assert refused.code == 2
    assert not list(shell.directory.glob("none*"))
    stats = await shell.json("secmaster", "stats")
    assert stats["markets"]["by_status"]["settled"] == 1200
    assert "Crypto" in (await shell.run("secmaster", "stats")).out


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["secmaster", "show", "NONE"], 3, "'NONE'"),
        (["fees", "list", "NONE"], 3, "'NONE'"),
        (["secmaster", "list", "--expiring-within", "soon"], 2, "--expiring-within"),
        (["secmaster", "list", "--status", "dead"], 2, "dead"),
        (["secmaster", "list", "--limit", "-1"], 2, "limit"),
        (["secmaster", "list", "--json", "--csv"], 2, "exclude each other"),
        (["secmaster", "list", "--expiring-within", "1h", "--closing-before", "2h"], 2, "excludes"),
        (["fees", "list", "--price", "0.5"], 2, "series"),
        (["series", "list", "--nonsense"], 2, "nonsense"),
    ],
)
async def test_what_is_wrong_is_said(
    shell: Shell, words: list[str], code: int, sentence: str
) -> None:
    done = await shell.run(*words)
    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert "Traceback" not in done.err


async def test_an_api_that_is_away_or_refuses(shell: Shell) -> None:
    away = await shell.run("series", "list", SSMD_API_URL=f"http://127.0.0.1:{free_port()}")
    assert away.code == 4
    assert "SSMD_API_URL" in away.err
    refused = await shell.run("series", "list", SSMD_DATA_API_KEY="sk_live_nokey_" + "x" * 43)
    assert refused.code == 2
    assert "SSMD_DATA_API_KEY" in refused.err
    missing = await shell.run("series", "list", SSMD_DATA_API_KEY=None)
    assert missing.code == 2
    assert "SSMD_DATA_API_KEY" in missing.err
    wrong = await shell.run("series", "list", SSMD_API_URL="localhost:80")
    assert wrong.code == 2


async def test_a_running_system_in_this_directory_is_found(shell: Shell) -> None:
    """What is not set comes from .ssmd/env; what is set wins."""
    (shell.directory / ".ssmd").mkdir()
    lines = [f"{name}={value}\n" for name, value in shell.variables.items()]
    (shell.directory / ".ssmd" / "env").write_text("".join(lines))
    unset = dict.fromkeys(shell.variables)
    assert len(await shell.json("series", "list", **unset)) == 1
    dead = f"http://127.0.0.1:{free_port()}"
    assert (await shell.run("series", "list", SSMD_API_URL=dead)).code == 4


async def test_keys_are_made_used_and_revoked(shell: Shell) -> None:
    made = await shell.run("keys", "create", "bot", "--scope", "read", "--expires", "30d")
    assert made.code == 0
    text = made.out.strip()
    assert apikeys.parse(text)
    assert len(await shell.json("series", "list", SSMD_DATA_API_KEY=text)) == 1
    listed = await shell.json("keys", "list")
    assert [row["name"] for row in listed] == ["t", "bot"]
    assert listed[1]["scopes"] == ["read"]
    assert listed[1]["expires_at"].endswith("Z")
    assert "key_hash" not in listed[1]
    assert (await shell.run("keys", "list")).out.count("\n") == 3
    parsed = apikeys.parse(text)
    assert parsed
    revoked = await shell.run("keys", "revoke", parsed.prefix)
    assert (revoked.code, revoked.out) == (0, ""), revoked.err
    assert (await shell.json("keys", "list"))[1]["revoked_at"]


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["revoke", "999"], 3, "'999'"),
        (["revoke", "nothing"], 3, "'nothing'"),
        (["create", "x", "--scope", "write"], 2, "--scope: must"),
        (["create", "x", "--expires", "yesterday"], 2, "--expires: must"),
        (["create", "x", "--expires", "2020-01-01"], 2, "--expires: must"),
        (["create", "x", "--env", "a_b"], 2, "--env: "),
        (["create", "x", "--rate-limit", "0"], 2, "--rate-limit: "),
    ],
)
async def test_bad_key_verbs(shell: Shell, words: list[str], code: int, named: str) -> None:
    done = await shell.run("keys", *words)
    assert (done.code, done.out) == (code, "")
    assert named in done.err


async def test_keys_without_a_database(shell: Shell) -> None:
    missing = await shell.run("keys", "list", DATABASE_URL=None)
    assert missing.code == 2
    assert "DATABASE_URL" in missing.err
    dead = f"postgresql://ssmd:hunter2@127.0.0.1:{free_port()}/x"
    away = await shell.run("keys", "list", DATABASE_URL=dead, STARTUP_BUDGET_SECONDS="0.5")
    assert (away.code, away.out) == (4, "")
    assert "hunter2" not in away.err
    assert away.err.startswith("ssmd: PostgreSQL did not answer")
    assert away.err.count("\n") == 1, "each try is not a line"


async def test_a_narrow_terminal_keeps_tickers_whole(shell: Shell) -> None:
    """One line a row: only prose gives way."""
    import pty

    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], **shell.variables, "COLUMNS": "100", "TERM": "xterm"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ssmd_cli",
        "secmaster",
        "list",
        "--status",
        "active",
        cwd=shell.directory,
        env=environment,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    assert await asyncio.wait_for(process.wait(), 180) == 0
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    lines = [line for line in shown.splitlines() if TICKER in line]
    assert len(lines) == 1
    assert "…" in lines[0]
    assert "\x1b[31m" not in shown
