"""Rights that the API lacks at NATS or Redis: it answers all the same, and its operator is told."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from api_testbed import Serve
from least_rights import acl_users, nats_url, redis_url, users

from ssmd_common.connections import nats as connections
from ssmd_common.granting import nats_permissions
from ssmd_common.rights import RIGHTS, NatsRights
from ssmd_common.settings import NatsSettings
from ssmd_stack.nats import NatsServer
from ssmd_stack.servers import stack_kind
from ssmd_stack.valkey import ValkeyServer
from ssmd_stream import subjects

pytestmark = pytest.mark.usefixtures("universe")

PATIENCE_SECONDS = 180.0
CREATE = f"$JS.API.CONSUMER.CREATE.{subjects.STREAM}"
NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.STREAM}.*"


def but(pattern: str) -> dict[str, Any]:
    """Options by which the API may do everything but this."""
    rights = RIGHTS["api"].nats
    assert rights is not None
    left = [each for each in rights.publish if each.pattern != pattern]
    return users(api=nats_permissions(NatsRights(left)))


async def test_a_right_at_nats_that_is_missing(serve: Serve, tmp_path: Path) -> None:
    """At first, then given, then taken away under a reader: it is let go and may come again."""
    if stack_kind() != "embedded":
        pytest.skip("users are made: the server must be the test's own")
    async with (
        NatsServer(tmp_path / "nats", options=but(CREATE)) as server,
        serve(nats_url=nats_url(server, "api")) as api,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        settings = NatsSettings.model_validate({"nats_url": nats_url(server, "owner")})
        owner = await connections.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
        await owner.jetstream(timeout=60).add_stream(
            name=subjects.STREAM, subjects=[subjects.SUBJECTS]
        )
        await connections.close(owner)

        reply = await api.get("/v1/changes")
        assert reply.status == 503
        assert b"user" not in reply.body
        sentence = f"the NATS user api may not publish to {CREATE}: grant it"
        assert (api.context.feed.refusal or "").startswith(sentence)

        await server.reload(users())
        headers = {"X-API-Key": api.key}
        async with api.http.get(f"{api.base}/v1/changes", headers=headers) as reader:
            assert reader.status == 200
            assert api.context.feed.refusal is None
            await server.reload(but(NEXT))
            await reader.read()
        assert f"publish to {NEXT}: grant it" in (api.context.feed.refusal or "")
        await server.reload(users())
        while api.context.feed.refusal is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_right_at_redis_that_is_missing(serve: Serve, valkey_server: ValkeyServer) -> None:
    await acl_users(valkey_server.url)
    async with (
        aioredis.Redis.from_url(valkey_server.url) as admin,
        serve(redis_url=redis_url(valkey_server.url, "api")) as api,
    ):
        cached = api.context.cached
        await cached.ping()
        assert cached.refusal is None
        for rule, told in (("-hmget", "+hmget;"), ("-ping", "+ping;")):
            await admin.execute_command("ACL", "SETUSER", "api", rule)
            # It is read from PostgreSQL, and the next probe finds out why.
            market = await api.get("/v1/markets/KXBTCD-26FEB03-T97500.99")
            assert (market.status, market.headers["X-Ssmd-Source"]) == (200, "database")
            await cached.ping()
            assert f"ACL SETUSER api {told}" in (cached.refusal or "")
            await admin.execute_command("ACL", "SETUSER", "api", rule.replace("-", "+"))
            await cached.ping()
            assert cached.refusal is None
