"""Documents that may be sent more than once."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from ssmd_api.codings import Coding, compressed

_WORTH_A_THREAD_BYTES: Final = 4096


class Body:
    """What may be sent more than once."""

    def __init__(self, data: bytes) -> None:
        self.data: Final = data
        self.compressed: Final[dict[Coding, bytes]] = {}
        """What `compress` made of it."""
        self._compressing = asyncio.Lock()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:32]

    async def compress(self, coding: Coding) -> None:
        """Have it compressed, once for all to whom it is sent."""
        async with self._compressing:
            if coding in self.compressed:
                return
            if len(self.data) < _WORTH_A_THREAD_BYTES:
                self.compressed[coding] = compressed(self.data, coding)
            else:
                self.compressed[coding] = await asyncio.to_thread(compressed, self.data, coding)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it can be sent again, though not its age: `as_of` is when its rows were known to
    be so."""

    body: Body
    headers: Mapping[str, str]
    as_of: datetime | None = None
