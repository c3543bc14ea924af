"""Whether PostgreSQL takes new sessions, asked without holding anything else up.

libpq's PQping tells it, too. But psycopg calls it with Python's lock held: at an address that is
silent, the whole process would stand still for as long as it takes.
"""

import asyncio
import ssl
import struct
from collections.abc import Mapping
from typing import Any, Final

from ssmd_common.deadlines import answered_within

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_PROTOCOL: Final = 3 << 16
_CANNOT_CONNECT_NOW: Final = b"C57P03"
_LONGEST: Final = 30_000
"""Bytes of an error: what libpq takes for one."""


async def refuses_sessions(server: Mapping[str, Any], seconds: float) -> bool:
    """Whether a server that answers refuses new sessions, as one does that starts or shuts down.

    `server` has what a connection string has: `host` (or `hostaddr`), `port`, `user`, `dbname`. One
    that does not answer within `seconds`, or not as PostgreSQL does, refuses nothing.
    """
    try:
        async with answered_within(seconds):
            return await _ask(server)
    except (OSError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError):
        return False


async def _ask(server: Mapping[str, Any]) -> bool:
    host, port = str(server.get("hostaddr") or server["host"]), int(server.get("port", 5432))
    if host.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    else:
        reader, writer = await asyncio.open_connection(host, port)
    try:
        if not host.startswith("/"):
            # A server that takes only TLS would log the rest as a fault.
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) == b"S":
                await writer.start_tls(_without_trust())
        names = {"user": server.get("user", ""), "database": server.get("dbname", "")}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in names.items()) + b"\0"
        writer.write(struct.pack("!ii", len(body) + 8, _PROTOCOL) + body)
        # It refuses before it asks who we are, and we leave before we say it.
        if await reader.readexactly(1) != b"E":
            return False
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        if not 4 <= length <= _LONGEST:
            return False  # Nothing of PostgreSQL's.
        return _CANNOT_CONNECT_NOW in (await reader.readexactly(length - 4)).split(b"\0")
    finally:
        writer.close()


def _without_trust() -> ssl.SSLContext:
    # Nothing secret is sent, and nothing is believed but that it takes no sessions.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
