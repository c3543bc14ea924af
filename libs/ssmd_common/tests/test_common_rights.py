"""Each right that is written down, taken away alone: the sentence names it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis.asyncio as aioredis
import redis.exceptions
from least_rights import PASSWORD, acl_users, nats_url, redis_url, roles, users

from ssmd_common.connections import nats, redis_rights
from ssmd_common.connections import redis as redis_connections
from ssmd_common.connections.nats_rights import Denied, NatsClient
from ssmd_common.connections.rights import missing_grants, require_rights
from ssmd_common.errors import ConfigurationError
from ssmd_common.granting import grant, nats_permissions
from ssmd_common.rights import RIGHTS, NatsRights, PostgresRights, RedisRights
from ssmd_common.settings import NatsSettings, RedisSettings
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.servers import stack_kind
from ssmd_stack.valkey import ValkeyServer

PATIENCE_SECONDS = 180.0
AT_NATS = [service for service, rights in RIGHTS.items() if rights.nats is not None]
AT_REDIS = [service for service, rights in RIGHTS.items() if rights.redis is not None]


def nats_rights(service: str) -> NatsRights:
    rights = RIGHTS[service].nats
    assert rights is not None
    return rights


def redis_rights_of(service: str) -> RedisRights:
    rights = RIGHTS[service].redis
    assert rights is not None
    return rights


def without(service: str, number: int) -> dict[str, Any]:
    """The service's permissions but for one subject; -1 for its replies."""
    rights = nats_rights(service)
    if number < 0:
        return {**nats_permissions(rights), "subscribe": {"deny": [">"]}}
    left = [each for at, each in enumerate(rights.publish) if at != number]
    return dict(nats_permissions(NatsRights(left)))


@pytest.fixture
async def nats_of_all(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """Each service is a user, and again without each of its rights: cdc, cdc-0, cdc-1 …"""
    options = users()
    for service in AT_NATS:
        for number in range(-1, len(nats_rights(service).publish)):
            options["authorization"]["users"].append(
                {
                    "user": f"{service}-{number}",
                    "password": PASSWORD,
                    "permissions": without(service, number),
                }
            )
    async with NatsServer(tmp_path / "nats", options=options) as server:
        yield server


async def connect(server: NatsServer, user: str, **more: Any) -> NatsClient:
    settings = NatsSettings.model_validate({"nats_url": nats_url(server, user)})
    return await nats.connect(settings, "test", budget_seconds=PATIENCE_SECONDS, **more)


@pytest.mark.parametrize("service", AT_NATS)
async def test_a_subject_that_is_missing_is_named_at_start(
    nats_of_all: NatsServer, service: str
) -> None:
    await nats.close(await connect(nats_of_all, service, service=service))
    for number, missing in enumerate(nats_rights(service).publish):
        user = f"{service}-{number}"
        if missing.only:
            client = await connect(nats_of_all, user, service=service)
            assert await client.lacking(nats_rights(service).publish) == ([missing], False)
            await nats.close(client)
            continue
        with pytest.raises(ConfigurationError) as caught:
            await connect(nats_of_all, user, service=service)
        assert str(caught.value).startswith(
            f"the NATS user {user} may not publish to {missing.pattern}: grant it"
        )
    with pytest.raises(ConfigurationError, match=r"may not subscribe to _INBOX\.>, where replies"):
        await connect(nats_of_all, f"{service}--1", service=service)


@pytest.mark.parametrize(
    ("service", "subject", "pattern"),
    [
        ("connector", "md.book.12.kxa.kxa-1.kxa-1-t1", "md.book.12.>"),
        ("connector", "md.books_session.1.0", "md.books_session.1.>"),
        ("connector", "md.books_unreadable.0.0", "md.books_unreadable.0.>"),
        (
            "archiver",
            "$js.api.consumer.msg.next.market_books_3.abc",
            "$JS.API.CONSUMER.MSG.NEXT.MARKET_BOOKS_3.*",
        ),
        ("api", "$JS.API.STREAM.INFO.MARKET_BOOKS_10", "$JS.API.STREAM.INFO.MARKET_BOOKS_10"),
        ("api", "$JS.API.STREAM.INFO.MARKET_DATA", "$JS.API.STREAM.INFO.MARKET_DATA"),
    ],
)
def test_every_shard_of_books_has_its_rights(service: str, subject: str, pattern: str) -> None:
    """A refusal names what to grant, whichever shard it is of."""
    found = nats_rights(service).publish_of(subject)
    assert found is not None
    assert found.pattern == pattern
    assert found in nats_rights(service).with_shards(13).publish
    assert nats_rights("cdc").with_shards(3) == NatsRights(tuple(nats_rights("cdc").publish))


async def test_looking_for_rights_changes_nothing(nats_of_all: NatsServer) -> None:
    """Not the streams, not a consumer, not what it has delivered."""
    owner = await connect(nats_of_all, "owner")
    js = owner.jetstream(timeout=60)
    for name, subject in (("SECMASTER_CDC", "cdc.>"), ("SECMASTER_DLQ", "dlq.cdc.>")):
        await js.add_stream(name=name, subjects=[subject])
    await js.publish("cdc.a", b"1")
    await js.add_consumer("SECMASTER_CDC", durable_name="ours", ack_policy="all")

    async def state() -> Any:
        consumer = await js.consumer_info("SECMASTER_CDC", "ours")
        streams = [await js.stream_info(name) for name in ("SECMASTER_CDC", "SECMASTER_DLQ")]
        return (
            consumer.delivered,
            consumer.ack_floor,
            consumer.num_pending,
            [(stream.config, stream.state.messages, stream.state.last_seq) for stream in streams],
        )

    before = await state()
    for service in AT_NATS:
        client = await connect(nats_of_all, service, service=service, consumer="ours")
        assert await client.lacking(nats_rights(service).publish) == ([], False)
        await nats.close(client)
    assert await state() == before
    await nats.close(owner)


async def test_a_request_without_the_right_ends_at_once_and_tells(nats_of_all: NatsServer) -> None:
    """And when the right is given, that is found out, too."""
    told: asyncio.Queue[str | None] = asyncio.Queue()
    client = await connect(nats_of_all, "cdc-4", service="cdc", tell=told.put_nowait)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Denied, match=r"publish to \$JS\.API\.STREAM\.CREATE\.SECMASTER_CDC: g"):
            await client.request("$JS.API.STREAM.CREATE.SECMASTER_CDC", b"{}", timeout=600)
        assert (await told.get() or "").startswith(
            "the NATS user cdc-4 may not publish to $JS.API."
        )
        options = nats_of_all.options
        for user in options["authorization"]["users"]:
            if user["user"] == "cdc-4":
                user["permissions"] = nats_permissions(nats_rights("cdc"))
        await nats_of_all.reload(options)
        assert await told.get() is None
        reply = await client.request("$JS.API.STREAM.CREATE.SECMASTER_CDC", b"{}", timeout=30)
        assert b"does not match" in reply.data

        # The subscription by which replies come is made anew when it may be.
        user = next(u for u in options["authorization"]["users"] if u["user"] == "cdc-4")
        user["permissions"] = {**user["permissions"], "subscribe": {"deny": [">"]}}
        await nats_of_all.reload(options)
        assert "may not subscribe to _INBOX.>" in (await told.get() or "")
        with pytest.raises(Denied):
            await client.request("$JS.API.STREAM.INFO.SECMASTER_CDC", b"", timeout=600)
        user["permissions"] = nats_permissions(nats_rights("cdc"))
        await nats_of_all.reload(options)
        assert await told.get() is None
        reply = await client.request("$JS.API.STREAM.INFO.SECMASTER_CDC", b"", timeout=30)
        assert b"stream not found" in reply.data
    await nats.close(client)


async def test_replies_that_may_not_come_are_told(nats_of_all: NatsServer) -> None:
    client = await connect(nats_of_all, "api--1")
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Denied, match=r"may not subscribe to _INBOX\.>"):
            await client.request("$JS.API.STREAM.INFO.SECMASTER_CDC", b"", timeout=600)
    await nats.close(client)


def each_right(rights: PostgresRights) -> list[tuple[str, str, str]]:
    of_tables = [("TABLE", name, r) for name, needed in rights.tables.items() for r in needed]
    return [
        *of_tables,
        *(("SEQUENCE", name, r) for name, needed in rights.sequences.items() for r in needed),
        *(("FUNCTION", name, "EXECUTE") for name in rights.functions),
        *(("SCHEMA", name, "USAGE") for name in rights.schemas),
    ]


async def test_a_grant_that_is_missing_is_named(database: Database) -> None:
    if stack_kind() == "external":
        pytest.skip("roles are made: the server must be ours")
    async with (
        roles(database) as made,
        await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin,
    ):
        for service, rights in RIGHTS.items():
            role = made.name(service)
            of_database = [("DATABASE", database.name, "TEMPORARY")] * rights.postgres.temporary
            async with await psycopg.AsyncConnection.connect(
                made.url(service), autocommit=True
            ) as connection:
                await require_rights(connection, service)
                every = [*each_right(rights.postgres), *of_database]
                for kind, name, right in every:
                    missing = grant(kind, name, [right], role)
                    taken = missing.replace("GRANT", "REVOKE", 1).replace(" TO ", " FROM ")
                    await admin.execute(taken)  # type: ignore[arg-type]
                    if name in ("public", "service_status"):
                        # Without the one nothing can be seen, without the other it starts.
                        assert await missing_grants(connection, rights.postgres) == [missing]
                    else:
                        with pytest.raises(ConfigurationError) as caught:
                            await require_rights(connection, service)
                        assert str(caught.value).endswith(
                            f"(docs/rights.md has them all): {missing}"
                        )
                    await admin.execute(missing)  # type: ignore[arg-type]


async def test_a_redis_rule_that_is_missing_is_named(valkey_server: ValkeyServer) -> None:
    await acl_users(valkey_server.url, "k:")
    async with aioredis.Redis.from_url(valkey_server.url) as admin:
        for service in AT_REDIS:
            rights = redis_rights_of(service)
            settings = RedisSettings.model_validate(
                {"redis_url": redis_url(valkey_server.url, service), "redis_key_prefix": "k:"}
            )

            async def refusal(of: str = service, given: RedisSettings = settings) -> str:
                with pytest.raises(ConfigurationError) as caught:
                    await redis_connections.connect(given, "test", budget_seconds=5, service=of)
                return str(caught.value)

            client = await redis_connections.connect(
                settings, "test", budget_seconds=5, service=service
            )
            await client.aclose()
            for command in rights.commands:
                await admin.execute_command("ACL", "SETUSER", service, f"-{command}")
                if command != "select":
                    said = await refusal()
                    assert f"may not run {command}: ACL SETUSER {service} +{command};" in said
                await admin.execute_command("ACL", "SETUSER", service, f"+{command}")
            await admin.execute_command("ACL", "SETUSER", service, "resetkeys", "%W~k:secmaster:*")
            assert (
                f"keys k:secmaster:*: ACL SETUSER {service} {rights.keys('k:')};" in await refusal()
            )
            await admin.execute_command("ACL", "SETUSER", service, rights.keys("k:"))
        assert await admin.keys("*") == []


async def test_what_redis_refuses_while_running_is_told(valkey_server: ValkeyServer) -> None:
    """As a command, inside of a script, for a key and for a channel."""
    await acl_users(valkey_server.url)
    async with aioredis.Redis.from_url(valkey_server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "cache", "-get", "+publish")
    async with aioredis.Redis.from_url(redis_url(valkey_server.url, "cache")) as client:
        for words, sentence in (
            (
                ["GET", "secmaster:x"],
                "the Redis user cache may not run get: ACL SETUSER cache +get;",
            ),
            (
                ["EVAL", "return redis.call('GET', 'secmaster:x')", "0"],
                "the Redis user cache may not run get: ACL SETUSER cache +get;",
            ),
            (["SET", "x", "1"], "may not use the keys secmaster:*: ACL SETUSER"),
            (["EVAL", "return redis.call('SET', 'x', '1')", "0"], "may not use the keys"),
            (["PUBLISH", "x", "1"], "may not use a channel"),
        ):
            assert sentence in await refused(client, words)


async def refused(client: aioredis.Redis, words: Sequence[str]) -> str:
    with pytest.raises(redis.exceptions.ResponseError) as caught:
        await client.execute_command(*words)
    assert redis_rights.is_denial(caught.value)
    return redis_rights.denial(caught.value)
