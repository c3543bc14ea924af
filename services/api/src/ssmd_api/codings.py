"""Compressed replies: zstd and gzip, whole and as they come."""

import asyncio
import sys
import zlib
from functools import lru_cache
from typing import Final, Literal, Protocol

from aiohttp import hdrs, web

from ssmd_api.negotiation import weights

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Coding = Literal["zstd", "gzip"]

CODINGS: Final[tuple[Coding, ...]] = ("zstd", "gzip")
"""The better ones first: of those that a client likes as much, it gets the first."""
_WORTH_A_THREAD_BYTES: Final = 4096


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


@lru_cache(maxsize=100)
def accepted(header: str) -> Coding | None:
    """The coding for an Accept-Encoding; None where only plain bytes are read."""
    asked = weights(header)
    liked = {coding: asked.get(coding, asked.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=liked.__getitem__)
    return best if liked[best] > 0 else None


def of(request: web.Request) -> Coding | None:
    """The coding for a request."""
    return accepted(request.headers.get(hdrs.ACCEPT_ENCODING, ""))


def compressed(data: bytes, coding: Coding) -> bytes:
    making = _compressor(coding)
    return making.compress(data) + making.flush()


class Stream:
    """Writes a reply whose length is not known, compressed where its client reads that. What is
    written may stay here until `end`."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        """Says in the headers of `response`, which is not begun yet, how it is compressed."""
        self._response = response
        coding = of(request)
        self._making = None if coding is None else _compressor(coding)
        if coding is not None:
            response.headers[hdrs.CONTENT_ENCODING] = coding

    async def write(self, data: bytes) -> None:
        if self._making is not None:
            making = self._making.compress
            few = len(data) < _WORTH_A_THREAD_BYTES
            data = making(data) if few else await asyncio.to_thread(making, data)
        if data:
            await self._response.write(data)

    async def end(self) -> None:
        """The reply is whole."""
        if self._making is not None:
            await self._response.write(self._making.flush())
        await self._response.write_eof()


def _compressor(coding: Coding) -> _Compressor:
    if coding == "gzip":
        return zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return zstd.ZstdCompressor()
