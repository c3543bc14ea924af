"""What is asked of services, in PostgreSQL: rows of `requests`, which the services watch."""

from dataclasses import dataclass
from typing import Any, LiteralString

from ssmd_api.database import Cursor, Database
from ssmd_api.keystore import Actor
from ssmd_api.rows import Row
from ssmd_api.store import queries


@dataclass(frozen=True, slots=True)
class Asked:
    """What a service is to do: a job of sync, or `verify` of cache."""

    service: str
    task: str


class RequestStore:
    """Adds and reads rows of `requests`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, asked: Asked, actor: Actor, idempotency_key: str | None) -> Row:
        """The request that was made, or the one that this key made before with the same
        `idempotency_key`, whatever that asked for."""
        made = await self._all(
            queries.ask,
            service=asked.service,
            task=asked.task,
            asked_by=actor.name,
            key_id=actor.key_id,
            idempotency_key=idempotency_key,
            request_id=actor.request_id,
        )
        if not made:
            made = await self._all(
                queries.request_by_key, key_id=actor.key_id, idempotency_key=idempotency_key
            )
        return made[0]

    async def find(self, number: int) -> Row | None:
        found = await self._all(queries.request, id=number)
        return found[0] if found else None

    async def page(self, before: int | None, fetch: int) -> list[Row]:
        """Those before the one of that id, the last first."""
        return await self._all(queries.requests, before=before, fetch=fetch)

    async def has_job(self, job: str) -> bool:
        """Whether a process of sync has the job in its schedule, as it says itself."""
        return bool(await self._all(queries.job_exists, job=job))

    async def _all(self, query: LiteralString, **parameters: Any) -> list[Row]:
        async with self._database.cursor() as cursor:
            await cursor.execute(query, parameters)
            return [_row(cursor, values) for values in await cursor.fetchall()]


def _row(cursor: Cursor, values: tuple[Any, ...]) -> Row:
    assert cursor.description is not None
    return {column.name: value for column, value in zip(cursor.description, values, strict=True)}
