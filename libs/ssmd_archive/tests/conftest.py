"""An S3 server for the tests of buckets."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3Server

# Test modules are not importable by name; what several of them share is.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def s3(scratch: Path) -> Iterator[S3Server]:
    """A running server; tests take a prefix of their own."""
    server = S3Server(scratch / "s3")
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.kill())
        server.remove()
