"""The command line in a process of its own, forked from one that has imported it already.

A test that asks for many replies would spend nearly all of its time on imports. That `ssmd` starts
from nothing, the other tests show.
"""

import asyncio
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_SERVER: Final = multiprocessing.get_context("forkserver")
# What the verbs import when they are used.
_SERVER.set_forkserver_preload(
    [
        *(f"ssmd_cli.{verb}" for verb in ("secmaster", "series", "fees", "keys")),
        *("ssmd_cli.api", "ssmd_cli.listing", "ssmd_cli.showing", "psycopg", "ssmd_api.keystore"),
    ]
)


@dataclass(slots=True)
class Done:
    code: int
    out: str
    err: str


async def ssmd(words: tuple[str, ...], directory: Path, environment: dict[str, str]) -> Done:
    """Run `ssmd` to its end, in that directory and with no other variables."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _SERVER.Process(target=_main, args=(words, directory, environment, out, err))
        await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode is not None, f"{words} does not end"
        said = [await asyncio.to_thread(path.read_text) for path in (out, err)]
        return Done(process.exitcode, *said)


def _main(
    words: tuple[str, ...], directory: Path, environment: dict[str, str], out: Path, err: Path
) -> None:
    from ssmd_cli.__main__ import main

    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ssmd", *words]
    main()
