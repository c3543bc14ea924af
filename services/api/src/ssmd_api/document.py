"""JSON documents that may be sent more than once."""

import asyncio
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

_WORTH_A_THREAD_BYTES: Final = 4096


class Body:
    """JSON that may be sent more than once."""

    def __init__(self, data: bytes) -> None:
        self.data: Final = data
        self.gzipped: bytes | None = None
        """What `compress` made of it."""
        self._compressing = asyncio.Lock()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:32]

    async def compress(self) -> None:
        """Have it compressed, once for all to whom it is sent."""
        async with self._compressing:
            if self.gzipped is not None:
                return
            if len(self.data) < _WORTH_A_THREAD_BYTES:
                self.gzipped = gzipped(self.data)
            else:
                self.gzipped = await asyncio.to_thread(gzipped, self.data)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it can be sent again, though not its age: `as_of` is when its rows were known to
    be so."""

    body: Body
    headers: Mapping[str, str]
    as_of: datetime | None = None


def gzipped(data: bytes) -> bytes:
    making = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return making.compress(data) + making.flush()
