"""The API key of a system that `ssmd up` runs: made at the first start, kept beside its data."""

import os
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from ssmd_api.database import Database
from ssmd_api.keystore import Actor, KeyStore
from ssmd_api.rows import configure
from ssmd_common import apikeys
from ssmd_common.connections import postgres

_FILE: Final = "api-key"
_SCOPES: Final = ("read", "admin")
#: One machine, one user: the limit must not be what a local benchmark measures.
_RATE_LIMIT_PER_MINUTE: Final = 1_000_000


async def ensure_key(url: SecretStr, directory: Path, exchange: str) -> str:
    """The text of a key that the database knows: the kept one, or a new one, named for the
    exchange that the system mirrors."""
    pool = await postgres.open_pool(
        url, "ssmd-up", budget_seconds=10, max_size=1, configure=configure, autocommit=True
    )
    async with pool:
        store = KeyStore(Database(pool))
        path = directory / _FILE
        kept = path.read_text().strip() if path.exists() else ""
        if parsed := apikeys.parse(kept):
            stored = await store.by_prefix(parsed.prefix)
            if (
                stored is not None
                and stored.revoked_at is None
                and apikeys.matches(parsed, stored.hash)
            ):
                return kept
        key = apikeys.generate(exchange)
        await store.create(key, "ssmd up", _SCOPES, _RATE_LIMIT_PER_MINUTE, None, Actor("ssmd up"))
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(key.text + "\n")
    return key.text
