"""The command line in a process of its own, forked from one that has imported it already.

That `ssmd` starts from nothing, the tests of its help and of `ssmd up` show.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ssmd_stack import forked


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


async def ssmd(
    words: tuple[str, ...], directory: Path | None, environment: Mapping[str, str]
) -> Done:
    """Run `ssmd` to its end, in that directory (None: this one) and with no other variables."""
    done = await asyncio.to_thread(
        forked.run, "ssmd_cli", *words, env=environment, cwd=directory, seconds=60
    )
    return Done(done.returncode, done.stdout, done.stderr)
