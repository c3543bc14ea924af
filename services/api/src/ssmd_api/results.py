"""Results as libpq has them, for what is sent on as PostgreSQL wrote it.

psycopg's cursors make Python values, and wait anew for each piece of an answer: for the page of a
list that is as much work as all else.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

Connection = psycopg.AsyncConnection[Any]

_MOST_PREPARED: Final = 100
_CANCEL_SECONDS: Final = 1.0
_PLACEHOLDER: Final = re.compile(r"%(?:%|\(([^)]+)\)s)")
_FAILED: Final = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)

_Key = tuple[bytes, tuple[int, ...]]
_prepared: WeakKeyDictionary[Connection, OrderedDict[_Key, bytes]] = WeakKeyDictionary()


async def fetched(connection: Connection, query: str, parameters: Mapping[str, Any]) -> PGresult:
    """The result of a query, values as text. The connection prepares it once; nobody else uses it
    meanwhile. Who does not wait for the end leaves it closed.

    `query` is as psycopg takes it with parameters: `%(name)s`, and `%%` for `%`.

    Raises:
        psycopg.Error: as a cursor's.
    """
    text, names = _numbered(query)
    values: Sequence[Buffer | None] | None = None
    types: tuple[int, ...] = ()
    if names:
        transformer = Transformer(connection)
        given = [parameters[name] for name in names]
        values = transformer.dump_sequence(given, [PyFormat.TEXT] * len(names))
        types = transformer.types or ()
    try:
        name = await _name(connection, text, types)
        connection.pgconn.send_query_prepared(name, values)
        return await _received(connection.pgconn)
    except BaseException:
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            # Else another would read what is under way.
            with suppress(psycopg.Error):
                await connection.cancel_safe(timeout=_CANCEL_SECONDS)
            connection.pgconn.finish()
        raise


@lru_cache(maxsize=2000)
def _numbered(query: str) -> tuple[bytes, tuple[str, ...]]:
    """The query with `$1` for the first of the names, and so on."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    return _PLACEHOLDER.sub(number, query).encode(), tuple(names)


async def _name(connection: Connection, text: bytes, types: tuple[int, ...]) -> bytes:
    """What the connection has prepared the query as."""
    known = _prepared.setdefault(connection, OrderedDict())
    name = known.get((text, types))
    if name is not None:
        known.move_to_end((text, types))
        return name
    pgconn = connection.pgconn
    if len(known) >= _MOST_PREPARED:
        _, name = known.popitem(last=False)
        pgconn.send_query(b"DEALLOCATE " + name)
        await _received(pgconn)
    name = name or b"ssmd_%d" % len(known)
    pgconn.send_prepare(name, text, types)
    await _received(pgconn)
    known[text, types] = name
    return name


async def _received(pgconn: PGconn) -> PGresult:
    """What comes of what was just sent: its last result. It is read where the loop finds it, and no
    task wakes up for each piece."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[PGresult] = loop.create_future()
    socket = pgconn.socket
    results: list[PGresult] = []

    def read() -> None:
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    return end()
                results.append(result)
        except Exception as error:
            end(error)

    def write() -> None:
        try:
            if pgconn.flush() == 0:
                loop.remove_writer(socket)
        except Exception as error:
            end(error)

    def end(error: Exception | None = None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        elif results[-1].status in _FAILED:
            found.set_exception(error_from_result(results[-1], encoding="utf-8"))
        else:
            found.set_result(results[-1])

    unsent = pgconn.flush()
    if unsent:
        loop.add_writer(socket, write)
    loop.add_reader(socket, read)
    try:
        return await found
    finally:
        loop.remove_reader(socket)
        if unsent:
            loop.remove_writer(socket)
