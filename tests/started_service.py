"""A service beside a test, on an ops port of its own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ssmd_stack import forked
from ssmd_stack.ports import free_port


@asynccontextmanager
async def running(name: str, **environment: str) -> AsyncIterator[forked.Started]:
    """The service until the block ends; it is killed then."""
    given = {**os.environ, "OPS_HOST": "127.0.0.1", "OPS_PORT": str(free_port()), **environment}
    child = await forked.start(f"ssmd_{name}", env=given)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
