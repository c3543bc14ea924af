"""API keys in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from ssmd_api.database import SHORT_PATIENCE_SECONDS, Cursor, Database
from ssmd_api.rows import Row, nearest
from ssmd_api.store import queries
from ssmd_common.apikeys import NewKey


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key's row, as far as a request needs it."""

    id: int
    name: str
    hash: bytes
    scopes: frozenset[str]
    rate_limit_per_minute: int
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes or revokes a key, and from where, for `api_key_audit`."""

    name: str
    key_id: int | None = None
    origin: str | None = None
    request_id: str | None = None


class KeyStore:
    """Reads and writes of `api_keys`; a key's text never comes here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_prefix(self, prefix: str) -> StoredKey | None:
        async with self._database.upkeep(SHORT_PATIENCE_SECONDS) as cursor:
            await cursor.execute(queries.key_by_prefix, {"prefix": prefix})
            found = await cursor.fetchone()
            if found is None:
                return None
            row = _row(cursor, found)
        return StoredKey(
            row["id"],
            row["name"],
            bytes(row["key_hash"]),
            frozenset(row["scopes"]),
            row["rate_limit_per_minute"],
            None if row["expires_at"] is None else nearest(row["expires_at"]),
            None if row["revoked_at"] is None else nearest(row["revoked_at"]),
        )

    async def page(self, after: int, fetch: int) -> list[Row]:
        return await self._all(queries.keys, after=after, fetch=fetch)

    async def create(
        self,
        key: NewKey,
        name: str,
        scopes: Sequence[str],
        rate_limit_per_minute: int,
        expires_at: datetime | None,
        actor: Actor,
    ) -> Row:
        created = await self._all(
            queries.create_key,
            name=name,
            prefix=key.prefix,
            hash=key.hash,
            scopes=list(scopes),
            rate_limit_per_minute=rate_limit_per_minute,
            expires_at=expires_at,
            **_noted(actor),
        )
        return created[0]

    async def revoke(self, key_id: int, actor: Actor) -> str | None:
        """Revoke a key; its prefix, or None if there is no such key."""
        revoked = await self._all(queries.revoke_key, id=key_id, **_noted(actor))
        return revoked[0]["key_prefix"] if revoked else None

    async def audit(self, before: int | None, fetch: int) -> list[Row]:
        """What was done with keys before the note of that id, the last first."""
        return await self._all(queries.key_audit, before=before, fetch=fetch)

    async def note_use(self, used: Mapping[int, datetime]) -> None:
        """Remember when keys were last used."""
        async with self._database.upkeep() as cursor:
            await cursor.execute(
                queries.keys_used, {"ids": list(used), "used_at": list(used.values())}
            )

    async def _all(self, query: LiteralString, **parameters: Any) -> list[Row]:
        async with self._database.cursor() as cursor:
            await cursor.execute(query, parameters)
            return [_row(cursor, values) for values in await cursor.fetchall()]


def _noted(actor: Actor) -> dict[str, Any]:
    return {
        "actor": actor.name,
        "actor_key_id": actor.key_id,
        "origin": actor.origin,
        "request_id": actor.request_id,
    }


def _row(cursor: Cursor, values: tuple[Any, ...]) -> Row:
    assert cursor.description is not None
    return {column.name: value for column, value in zip(cursor.description, values, strict=True)}
