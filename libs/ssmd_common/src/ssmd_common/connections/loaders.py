"""Values that PostgreSQL holds and Python cannot, read as None instead of an error.

One row with such a value must not end a service, nor keep it from the others of the same query:
times of infinity, before the year 1 or after 9999 count as none, and so does JSON nested deeper
than Python's own readers go. Who writes a row back leaves out what it did not change, or such a
value would be lost (`jsonb_populate_record` of the stored row does it).
"""

import json
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader
from psycopg.types.json import set_json_loads


class _Text(TimestamptzLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return None


class _Binary(TimestamptzBinaryLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return None


def _json(data: str | bytes) -> Any:
    try:
        return json.loads(data)
    except (RecursionError, ValueError):
        return None


async def forgive_values(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have this connection read what Python cannot hold as None; fit for a pool's `configure`."""
    connection.adapters.register_loader("timestamptz", _Text)
    connection.adapters.register_loader("timestamptz", _Binary)
    set_json_loads(_json, connection)
