"""Lines of the log that are written often."""

import asyncio
import json
import os
import sys

import pytest

CHILD = """
import asyncio, os
from ssmd_common import logs

async def main():
    logs.configure("child")
    logs._HELD_SECONDS = 60.0
    for n in range(3):
        logs.often(None, "line", {"n": n})
    os.write(1, b"{}\\n")

asyncio.run(main())
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_lines_that_come_close_together_go_out_together_and_none_is_lost(
    unbuffered: str,
) -> None:
    """Also with PYTHONUNBUFFERED, as in the image."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=asyncio.subprocess.PIPE,
    )
    written, _ = await child.communicate()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line.get("n") for line in lines] == [0, None, 1, 2]
    assert lines[0].keys() == {"n", "event", "level", "timestamp", "service"}
    assert lines[0]["timestamp"].endswith("Z")
