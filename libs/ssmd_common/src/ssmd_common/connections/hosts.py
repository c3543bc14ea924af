"""DATABASE_URL with several hosts: which of them is the primary.

libpq takes the first host that takes writes. After a promotion that can be the old primary, which
still runs; so here all are asked, and of those that take writes the one with the highest timeline
is taken. Where none does, one that answers: whoever connects then waits for its promotion.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from ssmd_common.connections.retry import first_line
from ssmd_common.connections.server import Facts, Server, facts

log = structlog.get_logger(__name__)

PRIMARY: Final = "read-write"
"""The value of target_session_attrs for which all addresses are asked."""

_OTHERS_SECONDS: Final = 2.0
"""Once a host that takes writes has answered, the others have so long: a lost node is silent."""

S = TypeVar("S", bound=psycopg.AsyncConnection[Any])

_newest: dict[tuple[str, str], int] = {}
"""The highest timeline seen, of hosts and a system identifier: none goes back to an older one."""

_rivals: set[tuple[Server, Server]] = set()
_late: set[asyncio.Task[Any]] = set()


class NoHost(psycopg.OperationalError):
    """None of several hosts can be used; `errors` tells why, of each."""

    def __init__(self, text: str, errors: Sequence[BaseException] = ()) -> None:
        super().__init__(text)
        self.errors = errors


def check_url(url: str) -> None:
    """ValueError, with a sentence that holds no secret, where it names no primary."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        raise ValueError("is not a URL") from None
    hosts = str(given.get("host", "")).split(",")
    ports = str(given.get("port", "5432")).split(",")
    if not all(hosts):
        raise ValueError("must be a URL such as postgresql://host:port,host:port/database")
    if len(ports) not in (1, len(hosts)) or not all(_is_port(port) for port in ports):
        raise ValueError("must have a port behind each host, or none")
    if given.get("target_session_attrs", "any") not in ("any", PRIMARY, "primary"):
        raise ValueError("must lead to the primary: target_session_attrs is read-write or primary")


def _is_port(text: str) -> bool:
    return not text or (text.isdecimal() and 0 < int(text) <= 65535)


def several(given: Mapping[str, Any]) -> bool:
    """Whether these parameters of a connection ask to look for the primary."""
    attributes = given.get("target_session_attrs")
    return "," in str(given.get("host", "")) or attributes in (PRIMARY, "primary")


def place(given: Mapping[str, Any]) -> str:
    """The hosts and ports: the same for all connections by one URL."""
    return f"{given.get('host')}:{given.get('port')}"


async def to_primary(connect: Callable[[str], Awaitable[S]], info: str) -> S:
    """The connection to the primary among the hosts of `info`; `connect` makes one.

    Raises:
        psycopg.OperationalError: none answers, or only one that was a primary before.
    """
    given = conninfo_to_dict(info)
    addresses, errors = await _addresses(given)
    asked = [
        asyncio.create_task(
            _ask(connect, make_conninfo(info, **each, target_session_attrs="any")),
            name="postgres-host",
        )
        for each in addresses
    ]
    kept: S | None = None
    try:
        await _answers(asked)
        found = [task.result() for task in asked if task.done() and not _failure(task)]
        if not found:
            errors += [error for task in asked if (error := _failure(task))]
            raise NoHost("; ".join(map(first_line, errors)), errors)
        # The first of equals, in the order of the URL.
        session, told = max(found, key=lambda each: _rank(each[1]))
        await _require_newest(session, place(given), told)
        _tell_rivals(told, [facts for _, facts in found])
        kept = session
        return session
    finally:
        for task in asked:
            _discard(task, kept)


def _rank(told: Facts) -> tuple[bool, int]:
    return told.refuses_writes is None, told.server.timeline or 0


async def _ask(connect: Callable[[str], Awaitable[S]], info: str) -> tuple[S, Facts]:
    session = await connect(info)
    try:
        alone = session.autocommit
        await session.set_autocommit(True)
        told = await facts(session)
        await session.set_autocommit(alone)
    except BaseException:
        await session.close()
        raise
    return session, told


async def _answers(asked: list["asyncio.Task[tuple[S, Facts]]"]) -> None:
    """Wait for all of them; for the others not long after one that takes writes."""
    loop = asyncio.get_running_loop()
    pending = set(asked)
    deadline: float | None = None
    while pending and (deadline is None or loop.time() < deadline):
        left = None if deadline is None else deadline - loop.time()
        done, pending = await asyncio.wait(
            pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        answers = (task.result()[1] for task in done if not _failure(task))
        if deadline is None and any(told.refuses_writes is None for told in answers):
            deadline = loop.time() + _OTHERS_SECONDS


async def _require_newest(session: psycopg.AsyncConnection[Any], hosts: str, told: Facts) -> None:
    timeline = told.server.timeline
    if told.refuses_writes is not None or timeline is None:
        return
    key = hosts, await _identifier(session)
    if timeline < _newest.get(key, 0):
        raise NoHost(
            f"of the hosts in DATABASE_URL only {told.server} takes writes, which was replaced by "
            f"the primary of timeline {_newest[key]}: that one does not answer"
        )
    _newest[key] = timeline


async def _identifier(session: psycopg.AsyncConnection[Any]) -> str:
    alone = session.autocommit
    await session.set_autocommit(True)
    try:
        cursor = psycopg.AsyncCursor(session, row_factory=tuple_row)
        await cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
        row = await cursor.fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return ""
    finally:
        await session.set_autocommit(alone)
    return str(row[0]) if row else ""


def _tell_rivals(chosen: Facts, found: list[Facts]) -> None:
    for other in found:
        pair = chosen.server, other.server
        if other.refuses_writes is None and other.server != chosen.server and pair not in _rivals:
            _rivals.add(pair)
            log.error(
                "two hosts of DATABASE_URL take writes: stop the one with the older timeline",
                used=str(chosen.server),
                other=str(other.server),
            )


async def _addresses(
    given: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[BaseException]]:
    """One dictionary for each address of each host, and what kept a name from having any."""
    hosts = str(given.get("host", "")).split(",")
    known = str(given.get("hostaddr", "")).split(",")
    ports = str(given.get("port", "5432")).split(",")
    found: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    loop = asyncio.get_running_loop()
    for number, host in enumerate(hosts):
        port = (ports[number] if len(ports) > 1 else ports[0]) or "5432"
        address = known[number] if len(known) > 1 else known[0]
        if address or host.startswith("/"):
            found.append({"host": host, "port": port, "hostaddr": address or None})
            continue
        try:
            resolved = await loop.getaddrinfo(
                host, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM
            )
        except OSError as error:
            errors.append(psycopg.OperationalError(f"the host {host} cannot be found: {error}"))
            continue
        found += [{"host": host, "port": port, "hostaddr": each[4][0]} for each in resolved]
    return found, errors


def _failure(task: "asyncio.Task[Any]") -> BaseException | None:
    """Why a task that is done has no result."""
    if not task.done():
        return None
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _discard(task: "asyncio.Task[tuple[S, Facts]]", kept: S | None) -> None:
    """Close what it made, but for what is kept; if it still connects, when that has ended.

    Cancelled half-way, its socket would stay open until Python finds it.
    """
    if not task.done():
        _late.add(task)
        task.add_done_callback(lambda task: _discard(task, None))
        return
    _late.discard(task)
    if not _failure(task) and (session := task.result()[0]) is not kept:
        session.pgconn.finish()
