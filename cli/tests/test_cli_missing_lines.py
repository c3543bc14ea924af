"""Lines of a manifest that are missing: every command that reads says so, as it does of a hole."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from made_market_data import Maker
from typer.testing import CliRunner, Result

from ssmd_archive.layout import MANIFEST, MARKET_DATA
from ssmd_cli.archive import app
from ssmd_common.exitcodes import ExitCode
from ssmd_stream.market.messages import Message

from .test_cli_compact import FIRST, archive

DAY = "2026-02-04"
WHY = "no line of the manifests accounts for them"
STREAM = ("--stream", "MARKET_DATA")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days that are captured whole, with four messages each."""
    root = tmp_path_factory.mktemp("archive") / "archive"
    maker = Maker()
    messages: list[Message | None] = []
    for number in range(3):
        at = FIRST + timedelta(days=number)
        if not number:
            everything: dict[str, Any] = {"of_channel": "trade", "everything": True}
            messages.append(maker.record("opened", at=at))
            messages.append(maker.record("subscribed", at=at, **everything))
        else:
            messages += [maker.record("count", at=at), maker.record("count", at=at)]
        messages += [maker.trade("KXA-1", at=at + timedelta(minutes=20 * n)) for n in (1, 2)]
    archive(root, MARKET_DATA, messages)
    return root


def run(root: Path, *words: str) -> Result:
    environment = {"NO_COLOR": "1", "ARCHIVER_ROOT": str(root)}
    return CliRunner().invoke(app, list(words), env=environment)


def without_last_line(day: Path) -> None:
    lines = (day / MANIFEST).read_bytes().splitlines(keepends=True)
    (day / MANIFEST).write_bytes(b"".join(lines[:-1]))


def with_torn_line(day: Path) -> None:
    (day / MANIFEST).write_bytes((day / MANIFEST).read_bytes()[:-20])


MISSING: dict[str, tuple[Callable[[Path], Any], int]] = {
    "the day": (shutil.rmtree, 5),
    "its manifest": (lambda day: (day / MANIFEST).unlink(), 5),
    "all lines": (lambda day: (day / MANIFEST).write_bytes(b""), 5),
    "the last line": (without_last_line, 8),
    "the end of it": (with_torn_line, 8),
}
"""With the first sequence that is missing then; the last one is 8."""


@pytest.mark.parametrize("what", MISSING)
def test_missing_lines_are_said_by_all_who_read(made: Path, tmp_path: Path, what: str) -> None:
    root = Path(shutil.copytree(made, tmp_path / "archive"))
    damage, first = MISSING[what]
    damage(root / "MARKET_DATA" / DAY)

    listed = json.loads(run(root, "ls", *STREAM, "--json").stdout)
    [lost] = listed["lost"]
    assert (lost["kind"], lost["from_seq"], lost["to_seq"]) == ("damaged", first, 8)
    assert [(one["from_seq"], one["to_seq"]) for one in listed["complete"]] == [
        (1, first - 1), (9, 12),
    ]  # fmt: skip

    said = f"sequences {first} to 8 of chain 1 are lost: {WHY}"
    assert said in run(root, "cat", *STREAM).stderr
    assert said in run(root, "cat", *STREAM, "--since", DAY, "--until", f"{DAY}T12:00").stderr
    assert said not in run(root, "cat", *STREAM, "--since", "9").stderr

    for words in ((), ("--from", DAY, "--to", DAY)):
        played = run(root, "replay", *words)
        assert played.exit_code == ExitCode.PARTIAL
        lines = map(json.loads, played.stdout.splitlines())
        [missing] = [line["_lost"] for line in lines if "_lost" in line]
        assert missing["kind"] == "damaged"
        assert (missing["from_seq"], missing["messages"]) == (first, 9 - first)
    # At the first message after them nobody knows whether they are of the span; later, it is known.
    assert run(root, "replay", "--from", "2026-02-05").exit_code == ExitCode.PARTIAL
    assert run(root, "replay", "--from", "2026-02-05T01:30").exit_code == 0

    found = json.loads(run(root, "coverage", "--date", DAY, "--channel", "trade", "--json").stdout)
    [trades] = found["coverage"]
    assert trades["intervals"][-1]["state"] == "unknown"
    assert WHY in trades["intervals"][-1]["why"]
    assert run(root, "verify", *STREAM).exit_code == ExitCode.DRIFT


def test_nothing_is_missing_of_a_whole_archive(made: Path) -> None:
    assert json.loads(run(made, "ls", *STREAM, "--json").stdout)["lost"] == []
    assert run(made, "replay").exit_code == 0
    assert run(made, "verify").exit_code == 0
