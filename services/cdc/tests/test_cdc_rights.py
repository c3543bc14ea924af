"""A right at NATS that the publisher lacks: named at start, waited for while it runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from least_rights import nats_url, users

from ssmd_common.connections import nats as connections
from ssmd_common.errors import ConfigurationError
from ssmd_common.granting import nats_permissions
from ssmd_common.rights import RIGHTS, NatsRights
from ssmd_common.settings import NatsSettings
from ssmd_stack.nats import NatsServer
from ssmd_stack.servers import stack_kind
from ssmd_stream import subjects

PATIENCE_SECONDS = 180.0


@pytest.fixture
async def nats_of_users(tmp_path: Path) -> AsyncIterator[NatsServer]:
    if stack_kind() != "embedded":
        pytest.skip("users are made: the server must be the test's own")
    async with NatsServer(tmp_path / "nats", options=users()) as server:
        yield server


def but(*patterns: str) -> dict[str, Any]:
    """Options by which cdc may do everything but this."""
    rights = RIGHTS["cdc"].nats
    assert rights is not None
    left = [each for each in rights.publish if each.pattern not in patterns]
    assert len(left) == len(rights.publish) - len(patterns)
    return users(cdc=nats_permissions(NatsRights(left)))


async def end_of(publisher: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await publisher.task


@pytest.mark.parametrize("verb", ["CREATE", "UPDATE"])
async def test_a_stream_that_it_may_not_make_or_change(
    bench: Any, nats_of_users: NatsServer, verb: str
) -> None:
    """Which it finds out only when it has to."""
    url = nats_url(nats_of_users, "cdc")
    subject = f"$JS.API.STREAM.{verb}.{subjects.STREAM}"
    if verb == "UPDATE":
        publisher = bench.start(nats_url=url)
        await publisher.ready()
        await publisher.stop()
    await nats_of_users.reload(but(subject))
    with pytest.raises(ConfigurationError) as caught:
        await end_of(bench.start(nats_url=url, cdc_stream_max_bytes=1 << 26))
    assert str(caught.value).startswith(f"the NATS user cdc may not publish to {subject}: grant it")


async def test_a_right_that_is_taken_away_and_given_back(
    bench: Any, nats_of_users: NatsServer
) -> None:
    """Of its own connection, by which changes are published: not ready meanwhile, nothing lost."""
    publisher = bench.start(nats_url=nats_url(nats_of_users, "cdc"))
    await publisher.ready()
    await nats_of_users.reload(but(subjects.SUBJECTS))
    await bench.insert(5)
    sentence = "publishing is interrupted: the NATS user cdc may not publish to cdc.>: grant it"
    await publisher.until(lambda p: (p.health.conditions.get("nats") or "").startswith(sentence))
    await nats_of_users.reload(users())
    await publisher.ready()
    settings = NatsSettings.model_validate({"nats_url": nats_url(nats_of_users, "owner")})
    owner = await connections.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        stored = 0
        while stored < bench.ANNOUNCED + 5:
            stored = (await owner.jetstream(timeout=60).stream_info(subjects.STREAM)).state.last_seq
    await connections.close(owner)
    await publisher.stop()


async def test_a_right_that_is_not_given_back(bench: Any, nats_of_users: NatsServer) -> None:
    """Past the budget it ends as it would not have begun: with the sentence, and exit code 2."""
    publisher = bench.start(nats_url=nats_url(nats_of_users, "cdc"), cdc_outage_budget_seconds=1.0)
    await publisher.ready()
    await nats_of_users.reload(but(subjects.SUBJECTS))
    await bench.insert(1)
    with pytest.raises(ConfigurationError, match=r"^the NATS user cdc may not publish to cdc\.>: "):
        await end_of(publisher)
