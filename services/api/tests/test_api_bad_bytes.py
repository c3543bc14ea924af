"""Bytes that are no text, or none that PostgreSQL holds: 400 that names the parameter, or 404."""

import asyncio

import pytest
from api_testbed import Client
from yarl import URL

from ssmd_api import feed

pytestmark = pytest.mark.usefixtures("universe")

BAD = ("%00", "a%00b", "%FF", "%ED%A0%80", "%0A", "%C2%85", "%7F", "%F4%90%80%80", "a%zz%00")
TEXTS = {
    "/v1/series": ("category", "tag", "q", "is_game", "active", "sort", "limit", "cursor"),
    "/v1/events": ("category", "series", "tag", "status", "closing_before", "q", "cursor"),
    "/v1/markets": ("category", "series", "event", "tag", "status", "min_volume", "q", "cursor"),
    "/v1/fees": ("tier",),
    "/v1/fees/KXBTCD": ("tier", "as_of", "price", "count"),
    "/v1/search": ("q", "kind"),
    "/v1/export": ("entity", "format", "series", "event", "tag", "q"),
    "/v1/snapshot": ("tables", "series", "event", "market"),
    "/v1/changes": ("table", "series", "event", "market", "type", "after"),
    "/v1/stats/markets": ("limit",),
    "/v1/keys": ("cursor",),
}
NO_UTF8 = ("%FF", "%ED%A0%80", "%F4%90%80%80")


@pytest.fixture(autouse=True)
def no_nats(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not there, and nothing here needs it: soon given up."""
    monkeypatch.setattr(feed, "CONNECT_SECONDS", 0.02)


async def get(api: Client, path: str) -> tuple[int, bytes]:
    """The status and body of a path that is sent as it is."""
    url = URL(api.base + path, encoded=True)
    async with api.http.get(url, headers={"X-API-Key": api.key}) as reply:
        return reply.status, await reply.read()


@pytest.mark.parametrize("path", TEXTS)
async def test_a_parameter_with_such_bytes_is_named(api: Client, path: str) -> None:
    asked = [(name, bad) for name in (*TEXTS[path], "unknown") for bad in BAD]
    # On a busy machine more than the pool has would wait for its connections too long.
    few = asyncio.Semaphore(5)

    async def ask(name: str, bad: str) -> tuple[int, bytes]:
        async with few:
            return await get(api, f"{path}?{name}={bad}")

    replies = await asyncio.gather(*(ask(name, bad) for name, bad in asked))
    for (name, bad), (status, body) in zip(asked, replies, strict=True):
        assert status == 400, (name, bad, body)
        assert name.encode() in body, (name, bad, body)
    (status, body) = await get(api, f"{path}?a%00%FF%0A=1")
    assert status == 400, body


@pytest.mark.parametrize(
    "path", ["/v1/markets/{}", "/v1/markets/{}/lifecycle", "/v1/events/{}", "/v1/series/{}"]
)
async def test_nothing_is_called_so(api: Client, path: str) -> None:
    for bad in (*BAD, "a" * 3000):
        status, body = await get(api, path.format(bad))
        assert status == (400 if bad in NO_UTF8 else 404), (bad, body)


@pytest.mark.parametrize("path", ["/v1/markets/lookup", "/v1/keys"])
@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b'{"tickers":["\xff"],"name":"\xff"}',
        b'{"name":"\xff"}',
        b'{"tickers":["\\u0000"]}',
        b'{"name":"\\u0000"}',
        b'{"tickers":["\\ud800"]}',
        b'{"tickers":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b"[" * 100_000,
        b"",
    ],
)
async def test_such_a_body_is_refused(api: Client, path: str, body: bytes) -> None:
    reply = await api.ask("POST", path, data=body)
    assert reply.status == 400, reply
    assert reply.json["errors"][0]["parameter"]


@pytest.mark.parametrize(
    "text", ["999999w", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]
)
async def test_a_time_beyond_the_calendar_is_refused(api: Client, text: str) -> None:
    reply = await api.get("/v1/markets", params={"closing_before": text})
    assert reply.status == 400
    assert reply.json["errors"][0]["parameter"] == "closing_before"
