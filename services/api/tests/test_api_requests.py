"""What is asked of services: POST /v1/sync/{job}, POST /v1/cache/verify, and where it stands."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from api_testbed import Client, Reply, make_key
from api_universe import insert_request, insert_status

from ssmd_common import requests
from ssmd_stack.database import Database

VERIFY = "/v1/cache/verify"
SYNC = "/v1/sync/everything"


@pytest_asyncio.fixture(autouse=True)
async def schedule(database: Database) -> None:
    """A sync that says which jobs it has."""
    async with database.connect() as connection:
        await insert_status(connection, "sync", {"jobs": {"everything": {}}})


@pytest_asyncio.fixture
async def other(api: Client, database: Database) -> AsyncIterator[Client]:
    """The same API, asked with another key."""
    key = await make_key(database, "admin")
    yield Client(api.http, api.base, key, api.context, api.health)


async def ask(api: Client, path: str, key: str | None = None) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.ask("POST", path, headers=headers)


async def test_a_request_has_a_place_where_its_result_will_stand(
    api: Client, database: Database
) -> None:
    reply = await ask(api, SYNC)
    assert reply.status == 202
    assert (reply.json["service"], reply.json["task"]) == ("sync", "everything")
    assert reply.json["state"] == "waiting"
    place = reply.headers["Location"]
    assert await api.ok(place) == reply.json
    async with database.connect() as connection:
        taken = await requests.take(connection, "sync", "everything")
        assert taken == [reply.json["id"]]
        assert (await api.ok(place))["state"] == "running"
        await requests.answer(connection, taken, {"outcome": "ok", "text": "a\0b"})
    found = await api.ok(place)
    assert (found["state"], found["attempts"]) == ("done", 1)
    assert found["result"] == {"outcome": "ok", "text": "a\ufffdb"}
    assert found["finished_at"]


async def test_the_service_is_told_at_once(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("LISTEN ssmd_requests")
        await ask(api, VERIFY)
        async with asyncio.timeout(180):
            async for note in connection.notifies():
                assert note.payload == "cache"
                break


async def test_the_same_key_again_makes_no_second_request(api: Client, other: Client) -> None:
    first, *again = await asyncio.gather(*(ask(api, VERIFY, "mine") for _ in range(5)))
    assert first.status == 202
    assert {reply.headers["Location"] for reply in again} == {first.headers["Location"]}
    assert (await ask(api, VERIFY, "yours")).json["id"] != first.json["id"]
    assert (await ask(api, VERIFY)).json["id"] != (await ask(api, VERIFY)).json["id"]
    # Another key's are its own.
    assert (await ask(other, VERIFY, "mine")).json["id"] != first.json["id"]


async def test_a_key_that_asked_for_something_else_is_refused(api: Client) -> None:
    await ask(api, VERIFY, "mine")
    reply = await ask(api, SYNC, "mine")
    assert reply.status == 422
    assert reply.json["type"] == "urn:ssmd:problem:idempotency-key-reused"


async def test_what_is_not_there_or_not_allowed(api: Client, database: Database) -> None:
    assert (await ask(api, "/v1/sync/nothing")).status == 404
    assert (await api.get("/v1/requests/1")).status == 404
    assert (await api.get("/v1/requests/x")).status == 404
    bad = await ask(api, VERIFY, "a b")
    assert bad.json["errors"][0]["parameter"] == "Idempotency-Key"
    assert (await ask(api, VERIFY, "x" * 129)).status == 400
    reader = Client(api.http, api.base, await make_key(database, "read"), api.context, api.health)
    for method, path in (("POST", VERIFY), ("POST", SYNC), ("GET", "/v1/requests")):
        assert (await reader.ask(method, path)).status == 403


async def test_requests_are_listed_the_last_first(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        for number in range(3):
            await insert_request(connection, task=f"job{number}")
    page = await api.ok("/v1/requests?limit=2")
    assert [row["task"] for row in page["requests"]] == ["job2", "job1"]
    rest = await api.ok(f"/v1/requests?limit=2&cursor={page['cursor']}")
    assert [row["task"] for row in rest["requests"]] == ["job0"]
    assert rest["cursor"] is None


async def test_a_request_that_no_worker_survives_is_given_up(
    api: Client, database: Database
) -> None:
    made = (await ask(api, SYNC)).json["id"]
    async with database.connect() as connection:
        for _ in range(requests.MOST_ATTEMPTS):
            assert await requests.take(connection, "sync", "everything") == [made]
        # What is given back does not count.
        await requests.give_back(connection, [made])
        assert await requests.take(connection, "sync", "everything") == [made]
        assert await requests.take(connection, "sync", "everything") == []
    found = await api.ok(f"/v1/requests/{made}")
    assert found["state"] == "failed"
    assert "no worker came to its end" in found["error"]
