"""Names and times as Redis has them; its bytes need not be text."""

import re
from datetime import UTC, datetime, timedelta

import redis.asyncio as aioredis


def text_of(raw: bytes) -> str:
    """Text that Redis holds, which need not be text at all: `raw_of` has it back."""
    return raw.decode(errors="surrogateescape")


def raw_of(text: str) -> bytes:
    """The bytes of a key or member."""
    return text.encode(errors="surrogateescape")


def printable(text: str) -> str:
    """The same for people, where it is no text."""
    return text.encode(errors="backslashreplace").decode()


def glob(text: str) -> str:
    """Text as a glob pattern that matches just this text."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)


async def clock(client: aioredis.Redis) -> datetime:
    """Redis's own time: the only one that decides whether a key has ended."""
    seconds, fraction = await client.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=fraction)
