"""What a request leaves behind: its line in the log, its id in the others, the trail of keys."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import structlog
from api_testbed import Client, make_key
from structlog.testing import capture_logs
from test_api_http import raw

from ssmd_stack.database import Database


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Every line of the log, as it is written."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


def lines_of(logged: list[Any], request_id: str) -> list[Any]:
    return [line for line in logged if line.get("request_id") == request_id]


@pytest.mark.usefixtures("universe")
async def test_every_request_has_its_line(api: Client, logged: list[Any]) -> None:
    reply = await api.get("/v1/series/KXBTCD?x=1", headers={"X-Request-Id": "mine-1"})
    assert reply.status == 400
    await api.ok("/v1/series/KXBTCD", headers={"X-Request-Id": "mine-2"})
    (bad,), (good,) = lines_of(logged, "mine-1"), lines_of(logged, "mine-2")
    assert (bad["method"], bad["route"], bad["status"]) == ("GET", "/v1/series/{ticker}", 400)
    assert good["status"] == 200
    assert good["key_id"] == 1
    assert good["bytes"] > 500
    assert good["milliseconds"] > 0
    assert "KXBTCD" not in str(good)


async def test_the_id_of_every_error_is_in_the_log(
    api: Client, database: Database, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(error: BaseException) -> int:
        async def failing(*_: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("ssmd_api.store.Store.stats_series", failing)
            reply = await api.get("/v1/stats/series")
        found = lines_of(logged, reply.json["request_id"])
        # What says why, and the request's own line.
        assert [line["event"] for line in found][-1] == "request answered"
        assert len(found) == (1 if isinstance(error, psycopg.errors.QueryCanceled) else 2)
        return reply.status

    assert await fail(RuntimeError("x")) == 500
    assert await fail(psycopg.OperationalError("x")) == 503
    assert await fail(psycopg.errors.QueryCanceled("x")) == 503
    spent = {"X-API-Key": await make_key(database, "read", rate=1)}
    await api.get("/v1/series", headers=spent)
    for status, reply in (
        (404, await api.get("/v1/series/NONE")),
        (404, await api.get("/nothing")),
        (405, await api.ask("PUT", "/v1/series")),
        (401, await api.get("/v1/series", headers={"X-API-Key": "x"})),
        (429, await api.get("/v1/series", headers=spent)),
    ):
        assert reply.status == status
        assert lines_of(logged, reply.json["request_id"])[-1]["status"] == status
    status, _, document = await raw(api, b"GARBAGE\r\n\r\n")
    assert lines_of(logged, document["request_id"])[-1]["status"] == status == 400


async def test_probes_have_no_line(api: Client, logged: list[Any]) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        async with api.http.get(api.base + path) as reply:
            await reply.read()
    assert [line["log_level"] for line in logged] == ["debug"] * 3


async def test_metrics_at_the_users_port_say_that_they_move(api: Client) -> None:
    async with api.http.get(f"{api.base}/metrics") as reply:
        assert reply.status == 200
        assert reply.headers["Deprecation"].startswith("@")


async def test_who_made_and_revoked_a_key_is_kept(api: Client, database: Database) -> None:
    sent = {"X-Request-Id": "made-it"}
    made = (await api.ask("POST", "/v1/keys", json={"name": "bot"}, headers=sent)).json
    for number in range(2):
        again = {"X-Request-Id": f"revoked-{number}"}
        assert (await api.ask("DELETE", f"/v1/keys/{made['id']}", headers=again)).status == 204
    trail = await api.ok("/v1/keys/audit")
    revoked, first = trail["audit"]
    assert trail["cursor"] is None
    about = {"key_id": made["id"], "key_prefix": made["key_prefix"], "key_name": "bot"}
    by = {"actor": "test", "actor_key_id": 1, "origin": "127.0.0.1"}
    assert first == {**first, **about, **by, "action": "made", "request_id": "made-it"}
    # Revoking again changed nothing, and is not told as if it had.
    assert revoked == {**revoked, **about, **by, "action": "revoked", "request_id": "revoked-0"}
    assert made["key"] not in str(trail)


async def test_the_trail_has_pages(api: Client) -> None:
    for number in range(3):
        await api.ask("POST", "/v1/keys", json={"name": str(number)})
    names, cursor = [], ""
    while cursor is not None:
        page = await api.ok(f"/v1/keys/audit?limit=2&cursor={cursor}")
        names += [row["key_name"] for row in page["audit"]]
        cursor = page["cursor"]
    assert names == ["2", "1", "0"]


async def test_readers_do_not_see_the_trail(api: Client, database: Database) -> None:
    mine = {"X-API-Key": await make_key(database, "read")}
    assert (await api.get("/v1/keys/audit", headers=mine)).status == 403
