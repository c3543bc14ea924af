"""PostgreSQL as one service finds it: the server, the schema, the role, and for cdc the slot."""

from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
from psycopg.rows import dict_row

from ssmd_cli.finding import Finding, Unreached
from ssmd_cli.migrate import states
from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.rights import missing_grants
from ssmd_common.connections.session import Session
from ssmd_common.errors import SsmdError
from ssmd_common.parts import OLD_SECONDS
from ssmd_common.rights import PAGE, RIGHTS
from ssmd_common.settings import PostgresSettings
from ssmd_common.sql import Queries
from ssmd_stream.subjects import TOKEN_COLUMNS

if TYPE_CHECKING:
    from ssmd_cdc.settings import CdcSettings

queries: Final = Queries("ssmd_cli", "checkup.sql")

BUDGET_SECONDS: Final = 3.0
_OLDEST: Final = 15


async def examine(service: str, settings: PostgresSettings) -> list[Finding]:
    """Everything.

    Raises:
        Unreached: no connection was made.
    """
    url = settings.database_url
    try:
        session = await postgres.connect(url, "ssmd-doctor", budget_seconds=BUDGET_SECONDS)
    except SsmdError as error:
        # Another encoding and a pooler that shares its sessions are found here, too.
        raise Unreached(Finding.failed("PostgreSQL", error, "check DATABASE_URL")) from error
    async with session:
        found = [_server(session), _writes(session), await _migrations(settings, session)]
        found.append(await _rights(service, session))
        if service == "cdc":
            found += await _replication(settings, session)  # type: ignore[arg-type]
        found.append(await _status(service, session))
    return found


def _server(session: Session) -> Finding:
    version = session.info.server_version // 10000
    direct = session.backend == session.info.backend_pid
    way = "directly" if direct else "through a pooler that keeps sessions"
    parameter = session.info.parameter_status("server_version")
    return Finding.of(
        "PostgreSQL", version >= _OLDEST, f"{parameter}, UTF8, reached {way}",
        f"use PostgreSQL {_OLDEST} or newer",
    )  # fmt: skip


def _writes(session: Session) -> Finding:
    if session.refuses_writes is None:
        return Finding("writes", True, "PostgreSQL takes them")
    return Finding.failed("writes", session.refuses_writes)


async def _migrations(settings: PostgresSettings, session: Session) -> Finding:
    try:
        found = await states(settings.database_url, budget_seconds=BUDGET_SECONDS)
    except psycopg.errors.InsufficientPrivilege:
        return Finding.warning(
            "migrations", "the role may not see which are applied",
            "`ssmd db status` as the tables' owner, or GRANT SELECT ON _yoyo_migration",
        )  # fmt: skip
    except SsmdError as error:
        return Finding.failed("migrations", error)
    missing = [state.name for state in found if state.applied_at is None]
    if len(missing) == len(found) and (await _row(session, queries.is_migrated))["migrated"]:
        return Finding.warning(
            "migrations", "they were applied by hand, so that nobody knows which",
            "compare with migrations/, and go on with psql",
        )  # fmt: skip
    detail = f"missing: {', '.join(missing)}" if missing else f"{len(found)} applied"
    return Finding.of("migrations", not missing, detail, "run `ssmd db migrate`")


async def _rights(service: str, session: Session) -> Finding:
    what, rights = f"{service} rights at PostgreSQL", RIGHTS[service].postgres
    grants = await missing_grants(session, rights)
    lacks = f"the role {session.info.user} lacks some ({PAGE})"
    if await missing_grants(session, rights.required):
        return Finding(what, False, lacks, " ".join(grants))
    if grants:
        return Finding.warning(what, f"{lacks} to say how it is", " ".join(grants))
    return Finding(what, True, f"the role {session.info.user} has them")


async def _replication(settings: "CdcSettings", session: Session) -> list[Finding]:
    from ssmd_cdc.errors import ReplicationEnded
    from ssmd_cdc.replication.slot import open_replication

    slot, publication = settings.cdc_slot, settings.cdc_publication
    facts = await _row(session, queries.replication, slot=slot, publication=publication)
    level = facts["wal_level"]
    found = [
        Finding.of(
            "wal_level", level == "logical", level,
            "ALTER SYSTEM SET wal_level = logical, then restart PostgreSQL",
        )
    ]  # fmt: skip
    try:
        async with open_replication(settings, session) as replication:
            await replication.identify()
        found.append(Finding("replication", True, "the role may read the WAL"))
    except (ReplicationEnded, SsmdError) as error:
        found.append(Finding.failed("replication", error, "look at max_wal_senders"))
    found.append(_slot(slot, facts))
    tables = facts["published"] or []
    missing = sorted(TOKEN_COLUMNS.keys() - set(tables))
    if not tables:
        found.append(
            Finding.warning(
                f"publication {publication}", "it is missing",
                "run `ssmd db migrate`; else cdc makes it, where it owns the tables",
            )
        )  # fmt: skip
    else:
        detail = f"lacks {', '.join(missing)}" if missing else f"{len(tables)} tables"
        mend = f"ALTER PUBLICATION {publication} ADD TABLE {', '.join(missing)};"
        found.append(Finding.of(f"publication {publication}", not missing, detail, mend))
    return found


def _slot(name: str, facts: dict[str, Any]) -> Finding:
    what, status = f"slot {name}", facts["wal_status"]
    if status is None:
        free = facts["free_slots"]
        return Finding.of(
            what, free > 0, f"is not made yet; {free} are free", "raise max_replication_slots"
        )
    if status == "lost":
        return Finding.warning(
            what,
            "its WAL is lost",
            "cdc begins a new epoch: raise max_slot_wal_keep_size",
        )
    if not facts["active"]:
        return Finding.warning(what, "nobody reads it, and PostgreSQL keeps its WAL", "start cdc")
    return Finding(what, True, f"is read, {facts['behind_bytes']} bytes behind")


async def _status(service: str, session: Session) -> Finding:
    what = f"{service} itself"
    try:
        row = await _row(session, queries.last_word, service=service)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        return Finding.warning(what, f"not known ({first_line(error)})", "see above")
    if not row:
        return Finding.warning(what, "it was never started here", "start it")
    age, why = row["age_seconds"], "; ".join((row["reasons"] or {}).values())
    if row["state"] in ("stopped", "failed"):
        return Finding.warning(what, f"{row['state']} ({why})", "start it")
    if age > OLD_SECONDS:
        return Finding(what, False, f"silent for {age:.0f} s", "look whether it runs")
    detail = row["state"] + (f" ({why})" if why else "")
    return Finding.of(what, row["ready"], detail, "look at its /readyz and its log")


async def _row(session: Session, query: LiteralString, **parameters: str) -> dict[str, Any]:
    cursor = psycopg.AsyncCursor(session, row_factory=dict_row)
    await cursor.execute(query, parameters)
    return await cursor.fetchone() or {}
