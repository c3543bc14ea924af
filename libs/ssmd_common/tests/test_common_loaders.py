"""What Python cannot hold is read as None; everything else as always."""

from datetime import UTC, datetime

import pytest

from ssmd_common.connections.loaders import forgive_values
from ssmd_stack.database import Database

FAR = ["-infinity", "infinity", "0044-03-15 12:00:00+00 BC", "15000-06-01 00:00:00+00"]
USUAL = datetime(2026, 11, 21, 3, 0, 0, 123456, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
async def test_times(database: Database, *, binary: bool, zone: str) -> None:
    async with database.connect() as connection:
        await connection.execute(f"SET TimeZone = '{zone}'")
        await forgive_values(connection)
        for far in FAR:
            cursor = connection.cursor(binary=binary)
            await cursor.execute("SELECT %s::timestamptz, 1", (far,))
            assert await cursor.fetchone() == (None, 1)
        if zone == "UTC":
            for time in (USUAL, LAST, FIRST):
                await cursor.execute("SELECT %s::timestamptz, ARRAY[%s, NULL]", (time, time))
                assert await cursor.fetchone() == (time, [time, None])


@pytest.mark.parametrize("binary", [False, True])
async def test_json(database: Database, *, binary: bool) -> None:
    deep = "[" * 5000 + "]" * 5000
    async with database.connect() as connection:
        await forgive_values(connection)
        cursor = connection.cursor(binary=binary)
        await cursor.execute("""SELECT %s::jsonb, %s::json, '{"a": [1.5]}'::jsonb""", (deep, deep))
        assert await cursor.fetchone() == (None, None, {"a": [1.5]})
