"""How the parts of a system are, from `service_status`; on this machine with their processes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.session import Login, open_session
from ssmd_common.errors import SsmdError, UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode
from ssmd_common.parts import SERVICES, Known, Part, Process, duration, part_of, parts_of, read
from ssmd_common.sql import Queries

if TYPE_CHECKING:
    from ssmd_stack.flow import MemberProcess

queries: Final = Queries("ssmd_common")

_ANSWER_SECONDS: Final = 5.0
UNKNOWN: Final = "PostgreSQL does not answer, and so nobody tells how it is"


class TableMissing(SsmdError):
    """The database has no service_status yet."""

    exit_code = ExitCode.DRIFT


@dataclass(frozen=True, slots=True)
class Line:
    """One part of the picture; None where it has no such figure. `rate` is per second."""

    name: str
    state: str
    ready: bool
    pid: int | None = None
    restarts: int = 0
    work: float | None = None
    rate: float | None = None
    lag_seconds: float | None = None
    errors: float | None = None
    memory_bytes: int | None = None
    note: str | None = None
    """Why it is not ready, else what is degraded or was survived."""


class Look:
    """Looks at `service_status` again and again over one connection."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def now(self) -> Known:
        """What is known now.

        Raises:
            UpstreamUnavailable: PostgreSQL does not answer within seconds.
            ConfigurationError: it refuses the role, the password or the database.
            TableMissing: the database is not migrated.
        """
        try:
            if self._connection is None or self._connection.closed:
                login = Login.of(self._url, "ssmd-status", connect_timeout=5)
                self._connection = await open_session(login)
            with postgres.cut_off_after(self._connection, _ANSWER_SECONDS):
                found = await (await self._connection.execute(queries.status_overview)).fetchone()
        except psycopg.errors.UndefinedTable:
            raise TableMissing(
                "the table service_status is missing: run `ssmd db migrate`"
            ) from None
        except (psycopg.OperationalError, OSError) as error:
            if isinstance(error, psycopg.OperationalError):
                postgres.raise_if_refused(error)
            raise UpstreamUnavailable(
                f"PostgreSQL does not answer ({first_line(error)}): check DATABASE_URL and that "
                "PostgreSQL runs"
            ) from error
        assert found is not None
        return read(found[0])

    async def now_or_none(self) -> Known | None:
        """The same; None where nothing can be known."""
        try:
            return await self.now()
        except SsmdError:
            return None


async def look_once(url: SecretStr) -> Known:
    """What is known now; errors as `Look.now`."""
    async with Look(url) as look:
        return await look.now()


def lines_of(known: Known) -> list[Line]:
    """Every service of a deployment, wherever it runs."""
    return [_line(part, known.now) for part in parts_of(known)]


def lines_here(known: Known | None, members: "Sequence[MemberProcess]") -> list[Line]:
    """Every part of a system on this machine: its servers' processes, its services' own word."""
    return [_member(known, member) for member in members]


def _member(known: Known | None, member: "MemberProcess") -> Line:
    if not member.alive:
        return Line(member.name, "down", ready=False, restarts=member.restarts)
    return replace(
        _alive(known, member),
        pid=member.pid,
        restarts=member.restarts,
        memory_bytes=member.memory_bytes,
    )


def _alive(known: Known | None, member: "MemberProcess") -> Line:
    if member.name not in SERVICES:
        if member.name == "postgres" and known is None:
            return Line(member.name, "no answer", ready=False)
        return Line(member.name, "up", ready=True)
    if known is None:
        return Line(member.name, "no word", ready=False, note=UNKNOWN)
    of_service = [row for row in known.rows if row.service == member.name]
    # Of this start: what a former process said is its own.
    rows = [row for row in of_service if row.pid == member.pid]
    if not rows:
        return Line(member.name, "starting", ready=False)
    line = _line(part_of(member.name, rows, known.now), known.now)
    stands_by = all(row.ready and not row.works for row in rows)
    if stands_by and part_of(member.name, of_service, known.now).ready:
        # A process elsewhere does the work, and this one would take over.
        return replace(line, ready=True)
    return line


def _line(part: Part, now: datetime) -> Line:
    speaker = part.speaker
    if speaker is None:
        return Line(part.name, part.state, part.ready, note=part.note)
    return Line(
        part.name,
        part.state,
        part.ready,
        pid=speaker.pid,
        restarts=max(0, part.starts_last_hour - len(part.processes)),
        work=speaker.work,
        rate=speaker.work_per_second if part.ready else None,
        lag_seconds=speaker.lag_seconds,
        errors=speaker.errors,
        memory_bytes=speaker.memory_bytes,
        note=part.note or _survived(speaker, now),
    )


def _survived(row: Process, now: datetime) -> str | None:
    if not row.last_error or row.last_error_at is None:
        return None
    seconds = max(0.0, (now - row.last_error_at).total_seconds())
    return f"last error {duration(seconds)} ago: {row.last_error}"


async def until_told(url: SecretStr, *, patience_seconds: float) -> None:
    """Wait until every service has said in the table that it is ready, or not for longer."""
    try:
        async with asyncio.timeout(patience_seconds), Look(url) as look:
            while True:
                known = await look.now_or_none()
                if known is not None and all(line.ready for line in lines_of(known)):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        return


def ago(at: datetime | None, now: datetime | None = None) -> str:
    """For people: how long ago."""
    if at is None:
        return "never"
    return f"{duration(max(0.0, ((now or datetime.now(UTC)) - at).total_seconds()))} ago"
