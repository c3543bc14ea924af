"""What a client may do to HTTP itself: late, broken and unknown requests."""

import asyncio
import gzip
import json
from contextlib import suppress
from typing import Any

import pytest
from api_testbed import Client
from api_universe import NOW, fill, insert

from ssmd_api.app import ROUTES
from ssmd_stack.database import Database


async def connect(api: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(api.base.rpartition(":")[2]))


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """A reply to its end: its status, its headers, its document."""
    async with asyncio.timeout(180):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


async def raw(api: Client, request: bytes) -> tuple[int, dict[str, str], Any]:
    reader, writer = await connect(api)
    writer.write(request)
    try:
        return await answer(reader)
    finally:
        writer.close()


def assert_problem(found: tuple[int, dict[str, str], Any], status: int) -> None:
    assert found[0] == status, found
    assert found[1]["content-type"].startswith("application/problem+json")
    assert found[2]["status"] == status
    assert found[2]["request_id"] == found[1]["x-request-id"]


# Deadlines


@pytest.mark.parametrize("begun", [b"", b"GET /v1/series HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    api: Client, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("ssmd_common.httpserver.HEAD_SECONDS", 0.3)
    connections = [await connect(api) for _ in range(20)]

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        answered = asyncio.create_task(answer(reader))
        while begun and not answered.done():
            # More of it moves no deadline.
            writer.write(b"A: b\r\n")
            await asyncio.wait({answered}, timeout=0.05)
        assert_problem(await answered, 408)
        # What was still on its way resets a connection that is closed.
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    await asyncio.gather(*(trickle(*connection) for connection in connections))


async def test_a_connection_that_waits_for_its_next_request_has_no_such_deadline(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmd_common.httpserver.HEAD_SECONDS", 0.2)
    reader, writer = await connect(api)
    for _ in range(2):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        await asyncio.sleep(0.5)
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmd_api.bodies.BODY_SECONDS", 0.3)
    request = (
        f"POST /v1/markets/lookup HTTP/1.1\r\nHost: x\r\nX-API-Key: {api.key}\r\n"
        'Content-Length: 1000\r\n\r\n{"tickers":'
    )
    assert_problem(await raw(api, request.encode()), 408)


# What is no request


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"BREW /v1/markets HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/markets HTTP/1.1\r\n\r\n",
        b"GET /v1/markets HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /v1/markets HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/series/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=lambda sent: sent[:20].decode("latin-1"),
)
async def test_what_cannot_be_parsed_is_a_problem(
    api: Client, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert_problem(await raw(api, request_), 400)
    assert "Traceback" not in caplog.text


async def test_an_expectation_that_is_unknown_is_a_problem(api: Client) -> None:
    sent = b"GET /v1/markets HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n"
    assert_problem(await raw(api, sent), 417)


async def test_a_body_that_is_not_compressed_as_it_says_is_refused(api: Client) -> None:
    whole = gzip.compress(b'{"tickers":["X"]}')
    for body, status in ((whole, 200), (b"no gzip", 400), (whole[:-9] + b"123456789", 400)):
        headers = {"Content-Encoding": "gzip"}
        reply = await api.ask("POST", "/v1/markets/lookup", data=body, headers=headers)
        assert reply.status == status, body
        assert "request_id" in reply.json or status == 200


async def test_what_is_not_utf8_is_refused(api: Client) -> None:
    for path in ("/v1/series?category=%ff", "/v1/series/%ff", "/v1/markets?%C3=1"):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {api.key}\r\n\r\n"
        assert_problem(await raw(api, request.encode()), 400)
    assert (await api.get("/v1/series?category=%C3%BC")).status == 200


# Methods


async def test_allow_names_the_methods_that_the_path_has(api: Client) -> None:
    methods: dict[str, set[str]] = {}
    for method, path, *_ in ROUTES:
        more = {"HEAD"} if method == "GET" else set()
        methods.setdefault(path, set()).update({method}, more)
    for path, known in methods.items():
        concrete = path.replace("{id}", "1").replace("{", "").replace("}", "")
        known.add("OPTIONS")
        reply = await api.ask("OPTIONS", concrete, headers={"X-API-Key": ""})
        assert reply.status == 204
        assert set(reply.headers["Allow"].split(", ")) == known, path
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - known:
            reply = await api.ask(method, concrete)
            assert reply.status == 405, (method, path)
            assert set(reply.headers["Allow"].split(",")) == known, (method, path)
            assert reply.json["status"] == 405


# Cursors


@pytest.mark.usefixtures("universe")
async def test_a_cursor_belongs_to_its_filters(api: Client) -> None:
    asked = "/v1/markets?series=KXBTCD&status=open&status=closed&limit=1"
    cursor = (await api.ok(asked))["cursor"]
    for other in (
        "/v1/markets?limit=1",
        "/v1/markets?series=KXNBAGAME&status=open&status=closed",
        "/v1/markets?series=KXBTCD&status=open",
        "/v1/events?series=KXBTCD&status=open",
    ):
        reply = await api.get(f"{other}{'&' if '?' in other else '?'}cursor={cursor}")
        assert reply.status == 400, other
        assert reply.json["errors"][0]["parameter"] == "cursor"
    # The order in which filters are given, and the length of a page, are no filters.
    same = f"/v1/markets?status=closed&limit=2&status=open&series=KXBTCD&cursor={cursor}"
    assert (await api.get(same)).status == 200


async def test_a_cursor_of_a_markets_lifecycle_is_of_that_market(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        await fill(connection)
        for market in ("KXBTCD-26FEB03-T98000", "KXOLD-25-A"):
            for number in range(2):
                await insert(
                    connection,
                    "market_lifecycle_events",
                    market_ticker=market,
                    event_type="created",
                    metadata={},
                    dedupe_key=f"{market}{number}",
                    sent_at=NOW,
                )
    page = await api.ok("/v1/markets/KXOLD-25-A/lifecycle?limit=1")
    reply = await api.get(f"/v1/markets/KXBTCD-26FEB03-T98000/lifecycle?cursor={page['cursor']}")
    assert reply.status == 400
    assert await api.ok(f"/v1/markets/KXOLD-25-A/lifecycle?cursor={page['cursor']}")


@pytest.mark.usefixtures("universe")
async def test_an_empty_cursor_is_the_beginning(api: Client) -> None:
    assert await api.ok("/v1/markets?cursor=") == await api.ok("/v1/markets")
    assert await api.ok("/v1/keys?cursor=")
