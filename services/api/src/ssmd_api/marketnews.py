"""That something of a market was captured: who shows its trades, quote and book reads them anew.

What came is not handed on, so only headers are read, and nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ssmd_stream.reader import Reader
    from ssmd_stream.stream import Stream

Source = tuple["Stream", list[str]]
"""A stream, and the market's subjects in it."""

_BATCH: Final = 500
_WAIT_SECONDS: Final = 10.0
_HEARTBEAT_SECONDS: Final = 5.0
_EXPIRES_SECONDS: Final = 20.0


async def follow(sources: Sequence[Source], came: asyncio.Event) -> None:
    """Set `came` whenever a message comes, from now on, and once at the beginning.

    Raises:
        StreamGap, ReaderBroken, StreamUnavailable, UpstreamUnavailable, NATS errors: it broke off.
    """
    from ssmd_stream.reader import Expectations, reading

    expected = Expectations(_BATCH, _HEARTBEAT_SECONDS, _EXPIRES_SECONDS)
    async with AsyncExitStack() as stack:
        readers: list[Reader] = []
        for stream, subjects in sources:
            start = (await stream.info()).last_sequence + 1
            made = reading(
                stream, start, subjects=subjects, headers_only=True, expectations=expected
            )
            readers.append(await stack.enter_async_context(made))
        # What came before is read by whoever asks now.
        came.set()
        await asyncio.gather(*(_follow(reader, came) for reader in readers))


async def _follow(reader: Reader, came: asyncio.Event) -> None:
    while True:
        if await reader.batch(_BATCH, _WAIT_SECONDS):
            came.set()
