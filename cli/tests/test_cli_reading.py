"""What read verbs write and where they ask: formats, fields, profiles, completion, names."""

import asyncio
import csv
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from shell import TICKER, Shell

from ssmd_cli.api import check_url
from ssmd_cli.exporting import format_of, lines_of, one_array
from ssmd_cli.output import Format
from ssmd_common.errors import ConfigurationError
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port


async def test_fields_are_the_columns_of_every_format(shell: Shell) -> None:
    words = ("secmaster", "list", "--status", "active", "--fields", "ticker,event.event_ticker")
    table = await shell.run(*words)
    assert table.out.split() == ["ticker", "event", "event_ticker", TICKER, "KXBTCD-26FEB03"]
    found = await shell.json(*words)
    assert found == [{"ticker": TICKER, "event": {"event_ticker": "KXBTCD-26FEB03"}}]
    lines = await shell.run(*words, "-o", "jsonl")
    assert [json.loads(line) for line in lines.out.splitlines()] == found
    rows = list(csv.reader(io.StringIO((await shell.run(*words, "-o", "csv")).out)))
    assert rows == [["ticker", "event.event_ticker"], [TICKER, "KXBTCD-26FEB03"]]
    wrong = await shell.run("secmaster", "list", "--fields", "ticker,sttus")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'sttus'" in wrong.err


async def test_export_is_one_array_unless_something_says_otherwise(shell: Shell) -> None:
    done = await shell.run("secmaster", "export")
    assert len(json.loads(done.out)) == 1201
    for name, words in (
        ("all.json", []),
        ("all.jsonl", []),
        ("all.csv", []),
        ("all.parquet", []),
        ("other.csv", ["-o", "jsonl"]),
        ("none.json", ["--series", "KXNONE"]),
    ):
        done = await shell.run("secmaster", "export", "--file", name, *words)
        assert (done.code, done.out, done.err) == (0, "", ""), name
    read = {path.name: path for path in shell.directory.glob("*.*")}
    assert len(json.loads(read["all.json"].read_text())) == 1201
    assert json.loads(read["none.json"].read_text()) == []
    for name in ("all.jsonl", "other.csv"):
        rows = [json.loads(line) for line in read[name].read_text().splitlines()]
        assert len(rows) == 1201
    assert len(list(csv.DictReader(io.StringIO(read["all.csv"].read_text())))) == 1201
    table = pyarrow.parquet.read_table(read["all.parquet"])
    assert table.num_rows == 1201
    assert str(table.schema.field("close_time").type) == "timestamp[us, tz=UTC]"
    nowhere = await shell.run("secmaster", "export", "--file", "no/all.csv")
    assert (nowhere.code, "--file no/all.csv" in nowhere.err) == (2, True)


@pytest.mark.parametrize(
    ("wanted", "file", "found"),
    [
        (None, None, Format.JSON),
        (None, "a.txt", Format.JSON),
        (None, "a.CSV", Format.CSV),
        (None, "a.ndjson", Format.JSONL),
        ("csv", "a.json", Format.CSV),
    ],
)
def test_the_format_of_an_export(wanted: str | None, file: str | None, found: Format) -> None:
    assert format_of(wanted, Path(file) if file else None) is found


def test_a_format_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean parquet"):
        format_of("paruqet", None)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_of_pieces_make_one_array(size: int) -> None:
    text = b'{"a":1}\n{"b":[2]}\n{"c":"x"}'
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    whole = b"".join(one_array(lines_of(pieces)))
    assert json.loads(whole) == [{"a": 1}, {"b": [2]}, {"c": "x"}]
    assert json.loads(b"".join(one_array(()))) == []


async def test_a_name_that_nothing_has_is_said_with_the_nearest(shell: Shell) -> None:
    for words, sentence in (
        (["--category", "crypto"], "no series has the category 'crypto'; did you mean 'Crypto'?"),
        (["--tag", "BTCC"], "no series has the tag 'BTCC'; did you mean 'BTC'?"),
        (["--category", "Sports"], "no series has the category 'Sports'; there are Crypto"),
    ):
        for verb in (["secmaster", "list"], ["series", "list"]):
            done = await shell.run(*verb, *words)
            assert done.code == 0
            assert sentence in done.err
    of_series = await shell.run("secmaster", "list", "--series", "KXBTC")
    assert "no series is called 'KXBTC'; did you mean KXBTCD?" in of_series.err
    quiet = await shell.run("secmaster", "list", "--category", "Crypto", "--q", "nothing")
    assert "no series" not in quiet.err
    shown = await shell.run("secmaster", "show", TICKER[:-1])
    assert shown.code == 3
    assert f"did you mean {TICKER}?" in shown.err


async def test_show_draws_the_life_of_a_market(shell: Shell, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO market_lifecycle_events"
            " (market_ticker, event_type, sent_at, received_at, dedupe_key, metadata)"
            " VALUES (%s, 'created', now() - interval '2 hours', now(), 'a', '{}'),"
            " (%s, 'opened', now() - interval '1 hour', now(), 'b', '{}')",
            (TICKER, TICKER),
        )
    done = await shell.run("secmaster", "show", TICKER)
    assert done.code == 0
    life = done.out[done.out.index("life (UTC") :].splitlines()[1:]
    assert [line[0] for line in life] == ["●", "●", "○"]
    assert [line.split("  ")[1].strip() for line in life] == ["created", "opened", "closes"]
    assert "1 h later" in life[1]
    assert "in 2 h 59 min" in life[2]


async def test_profiles_keep_addresses_and_keys(shell: Shell) -> None:
    """A name says where to ask; what is more particular comes first; the key stays private."""
    unset: dict[str, str | None] = {"SSMD_API_URL": None, "SSMD_DATA_API_KEY": None}
    url, key = shell.variables["SSMD_API_URL"], shell.variables["SSMD_DATA_API_KEY"]
    environment = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(shell.directory / "config")}

    def add(name: str, address: str, typed: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ssmd_cli", "profile", "add", name, "--url", address],
            input=typed, env=environment, cwd=shell.directory, text=True, capture_output=True,
            check=False,
        )  # fmt: skip

    assert add("prod", url, f"{key}\n").returncode == 0
    dead = f"http://127.0.0.1:{free_port()}"
    assert add("dead", dead, f"{key}\n").returncode == 0
    assert add("Prod", url, f"{key}\n").returncode == 2
    assert add("empty", url, "").returncode == 2
    assert add("odd", "localhost:80", f"{key}\n").returncode == 2
    path = shell.directory / "config" / "ssmd" / "profiles.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = await shell.run("profile", "list", **unset)
    assert [line.split()[0] for line in listed.out.splitlines()] == ["name", "prod", "dead"]
    assert key not in listed.out
    assert f"{url} (profile prod)" in listed.err

    # The first one is in use.
    assert len(await shell.json("secmaster", "list", "--status", "active", **unset)) == 1
    for words in (
        ["secmaster", "list", "prod", "--limit", "1"],
        ["secmaster", "show", "prod", TICKER],
        ["secmaster", "search", "prod", "bitcoin"],
        ["secmaster", "export", "prod"],
        ["secmaster", "stats", "prod"],
        ["series", "list", "prod"],
        ["fees", "list", "prod"],
        ["fees", "list", "prod", "KXBTCD"],
    ):
        assert (await shell.run(*words, SSMD_API_URL=dead)).code == 0, words
    assert (await shell.run("secmaster", "list", "dead", **unset)).code == 4
    assert (await shell.run("secmaster", "list", SSMD_PROFILE="dead")).code == 4
    assert (await shell.run("profile", "use", "dead", **unset)).code == 0
    away = await shell.run("secmaster", "list", **unset)
    assert away.code == 4
    assert "the profile dead" in away.err
    unknown = await shell.run("secmaster", "list", "prdo")
    assert unknown.code == 2
    assert "did you mean prod?" in unknown.err
    for words, code, said in (
        (["prdo", "KXBTCD"], 2, "did you mean prod?"),
        (["prod", "KXBTCD", "KXBTCD"], 2, "give one series"),
    ):
        done = await shell.run("fees", "list", *words)
        assert (done.code, said in done.err) == (code, True), done
    assert (await shell.run("profile", "remove", "dead")).code == 0
    assert "dead" not in path.read_text()
    path.chmod(0o644)
    open_to_all = await shell.run("secmaster", "list", "prod")
    assert open_to_all.code == 2
    assert "chmod 600" in open_to_all.err


async def test_a_shell_completes_names_that_the_api_knows(shell: Shell) -> None:
    """As the scripts of `ssmd completion` ask: the words up to the cursor, a line each."""

    async def completed(line: str, kind: str = "bash", by: Shell = shell) -> list[str]:
        words = line.replace(" ", "\n")
        done = await by.run(_SSMD_COMPLETE=f"complete_{kind}", _SSMD_WORDS=words)
        assert done.err == ""
        return done.out.splitlines()

    assert "secmaster" in await completed("ssmd sec")
    assert "--expiring-within" in await completed("ssmd secmaster list --exp")
    assert await completed("ssmd secmaster list --series KXB") == ["KXBTCD"]
    assert await completed("ssmd secmaster list --series kxb") == ["KXBTCD"]
    # Bash splits at the sign, the others do not.
    assert await completed("ssmd secmaster list --series = KXB") == ["KXBTCD"]
    assert await completed("ssmd secmaster list --series=KXB", "zsh") == [
        "--series=KXBTCD\tBitcoin"
    ]
    assert await completed("ssmd secmaster list --category Cr") == ["Crypto"]
    assert await completed('ssmd secmaster list --category "Cr') == ["Crypto"]
    assert await completed("ssmd fees list KXB") == ["KXBTCD"]
    assert await completed("ssmd secmaster list --status set") == ["settled"]
    dead = Shell(shell.directory, SSMD_API_URL="http://127.0.0.1:1", SSMD_DATA_API_KEY="x")
    assert "".join(await completed("ssmd series list --category C", by=dead)) == ""


@pytest.mark.parametrize(
    "words",
    [("secmaster", "list", "--limit", "0"), ("secmaster", "export"), ("series", "list", "--help")],
    ids=" ".join,
)
async def test_head_ends_a_command_quietly(shell: Shell, words: tuple[str, ...]) -> None:
    """The reader goes away before anything, or after a line."""
    for lines in (0, 1):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssmd_cli", *words, cwd=shell.directory,
            env={"PATH": os.environ["PATH"], **shell.variables},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, limit=64,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        if lines:
            await process.stdout.read(1)
        # Only asyncio's own handle on the pipe can close it.
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        told = await asyncio.wait_for(process.stderr.read(), 180)
        assert await process.wait() == 0, told
        assert b"Broken" not in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    "words", [("secmaster", "list"), ("secmaster", "export"), ("--help",)], ids=" ".join
)
async def test_a_full_disk_is_one_sentence(shell: Shell, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230 - a device
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssmd_cli", *words, cwd=shell.directory,
            env={"PATH": os.environ["PATH"], **shell.variables},
            stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
        _, told = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 1
    *_, last = told.decode().splitlines()
    assert last == "ssmd: the output: No space left on device"
    assert b"Traceback" not in told


async def test_a_watch_in_a_pipe_writes_what_is_new_or_changed(
    shell: Shell, database: Database
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_cli", "secmaster", "list", "--status", "active", "--watch",
        "0.2", "-o", "jsonl", "--fields", "title", cwd=shell.directory,
        env={"PATH": os.environ["PATH"], **shell.variables}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(180):
        first = json.loads(await process.stdout.readline())
        assert first["ticker"] == TICKER
        async with database.connect() as connection:
            await connection.execute(
                "UPDATE markets SET title = 'new' WHERE ticker = %s", (TICKER,)
            )
        assert json.loads(await process.stdout.readline()) == {"ticker": TICKER, "title": "new"}
        process.terminate()
        await process.wait()
    refused = await shell.run("secmaster", "list", "--watch", "1")
    assert refused.code == 2
    assert "jsonl" in refused.err


@pytest.mark.parametrize(
    "url", ["localhost:8080", "http://", "http://x:0", "http://x/?a=1", "http://x/#a", "http://["]
)
def test_what_is_no_address_of_an_api_is_said(url: str) -> None:
    """The client's own judgement, so that it refuses nothing later without a sentence."""
    with pytest.raises(ConfigurationError, match="SSMD_API_URL: must be a URL such as http"):
        check_url(url, "SSMD_API_URL")
