"""What attackers send to programs with a database behind them: taken literally, or refused.

Beside test_api_bad_bytes.py (bytes that are no text) and test_api_smuggling.py (HTTP itself).
"""

import asyncio
import base64
import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from api_testbed import Client
from test_api_http import assert_problem, raw
from test_api_smuggling import get
from yarl import URL

from ssmd_stack.database import Database

INJECTIONS = (
    "' OR '1'='1",
    "x'; DROP TABLE markets; --",
    "x') UNION SELECT key_hash::text FROM api_keys --",
    "$1 OR true",
    "%(series)s %s {} {alias}",
    "E'\\\\x27 OR 1=1",
    '"; SELECT pg_sleep(30); --',
    "x/**/OR/**/true",
)
LITERAL = {
    "/v1/series": ("category", "tag", "q"),
    "/v1/events": ("category", "series", "tag", "q"),
    "/v1/markets": ("category", "series", "event", "tag", "q"),
    "/v1/export": ("category", "series", "event", "tag", "q"),
    "/v1/search": ("q",),
}
"""Filters that take any text."""
CHOSEN = {
    "/v1/series": ("sort", "is_game", "active", "limit", "cursor"),
    "/v1/events": ("sort", "status", "closing_before", "closing_after", "limit", "cursor"),
    "/v1/markets": ("sort", "status", "closing_before", "min_volume", "limit", "cursor"),
    "/v1/markets/X/lifecycle": ("cursor", "limit"),
    "/v1/fees/KXBTCD": ("as_of", "price", "count"),
    "/v1/search": ("kind", "limit"),
    "/v1/export": ("entity", "format"),
    "/v1/snapshot": ("tables",),
    "/v1/changes": ("table", "after"),
    "/v1/stats/markets": ("limit",),
    "/v1/keys": ("cursor", "limit"),
    "/v1/keys/audit": ("cursor",),
}
NAMED = (
    "/v1/series/{}",
    "/v1/events/{}",
    "/v1/markets/{}",
    "/v1/markets/{}/lifecycle",
    "/v1/fees/{}",
)


@pytest.mark.usefixtures("universe")
async def test_sql_is_text(api: Client, database: Database) -> None:
    before = await api.ok("/v1/stats/markets")
    few = asyncio.Semaphore(3)  # As many exports as one key may have.

    async def ask(expected: int, path: str, **asked: str) -> None:
        async with few:
            reply = await api.get(str(URL(path, encoded=True).with_query(asked)))
        assert reply.status == expected, (path, asked, reply)
        if expected == 200 and reply.json:
            (rows,) = (rows for rows in reply.json.values() if isinstance(rows, list))
            assert rows == [], (path, asked)
        elif expected == 200:
            assert reply.body == b"", (path, asked)

    await asyncio.gather(
        *(
            ask(200, path, **{name: text})
            for path, names in LITERAL.items()
            for name in names
            for text in INJECTIONS
        ),
        *(
            ask(400, path, **{name: text})
            for path, names in CHOSEN.items()
            for name in names
            for text in INJECTIONS
        ),
        *(ask(404, path.format(quote(text, safe=""))) for path in NAMED for text in INJECTIONS),
    )
    looked_up = await api.ask("POST", "/v1/markets/lookup", json={"tickers": INJECTIONS})
    assert looked_up.json == {"markets": [], "missing": list(INJECTIONS)}
    for text in INJECTIONS:
        made = await api.ask("POST", "/v1/keys", json={"name": text})
        assert made.json["name"] == text
    assert {**await api.ok("/v1/stats/markets"), "counted_at": before["counted_at"]} == before


# Cursors


def cursor_of(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, -(2**63), 10**400, 1.5, 1e300, "", "\0", "\ud800", "x" * 5000, [], {},
    "infinity", "-infinity", "NaN", "2026-02-30T00:00:00Z", "+99999999-01-01T00:00:00Z",
    "'; DROP TABLE markets; --", "2026-02-03T22:00:00Z'::text; --",
)  # fmt: skip


@pytest.mark.usefixtures("universe")
async def test_a_forged_cursor_is_a_place_in_its_list_or_refused(api: Client) -> None:
    few = asyncio.Semaphore(5)

    async def ask(path: str, sort: str, cursor: str) -> None:
        async with few:
            reply = await api.get(path, params={"limit": "1", "sort": sort, "cursor": cursor})
        assert reply.status in (200, 400), (cursor, reply)
        if reply.status == 400:
            # What is like a cursor of ours is PostgreSQL's to judge.
            assert re.match("cursor: |a value has the wrong form$", reply.json["detail"])

    for path, sort in (
        ("/v1/series", "-volume"),
        ("/v1/events", "strike_date"),
        ("/v1/markets", "-close_time"),
        ("/v1/markets", "volume"),
    ):
        real = (await api.ok(f"{path}?limit=1&sort={sort}"))["cursor"]
        await asyncio.gather(*(ask(path, sort, cursor) for cursor in forged(real)))


def forged(real: str) -> set[str]:
    """A cursor with one letter or one part changed, cut off, or longer."""
    parts = json.loads(base64.urlsafe_b64decode(real + "=="))
    return {
        *(real[:place] + other + real[place + 1 :] for place in range(len(real)) for other in "A_"),
        *(real[:length] for length in range(1, len(real), 3)),
        real + real,
        real + "=",
        *(
            cursor_of(*parts[:place], odd, *parts[place + 1 :])
            for place in range(len(parts))
            for odd in ODD
        ),
        cursor_of(*parts[:3]),
        cursor_of(*parts, 1),
        base64.urlsafe_b64encode(b"[" * 1000).decode(),
    } - {real}


# What comes back in replies


@pytest.mark.usefixtures("universe")
async def test_no_header_comes_from_what_was_asked(api: Client) -> None:
    evil = "x%0d%0aX-Evil: 1%0d%0a%0d%0a<script>".replace(" ", "%20")
    for path in (
        f"/v1/series/{evil}",
        f"/v1/markets?category={evil}",
        f"/v1/markets?limit=1&{evil}=1",
        f"/v1/export?format={evil}",
        f"/v1/changes?type={evil}",
        f"/{evil}",
        f"/docs/{evil}",
    ):
        async with api.http.get(
            URL(api.base + path, encoded=True), headers={"X-API-Key": api.key}
        ) as reply:
            assert reply.status in (400, 404), path
            assert "X-Evil" not in reply.headers, path
            assert reply.headers["Content-Type"].startswith("application/problem+json")
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert b"\r\n" not in await reply.read()
    # The next page's address keeps what was asked, percent-encoded.
    reply = await api.get("/v1/markets", params={"limit": "1", "q": "Will >; rel=evil, <"[:4]})
    assert reply.headers["Link"].count("<") == 1
    reply = await api.get("/v1/markets?limit=1&tag=BTC&tag=%3E%3B%20rel%3D%22evil%22%2C%3C")
    assert re.fullmatch(r'<[^<>" ]+>; rel="next"', reply.headers["Link"])


async def test_an_id_that_is_no_text_is_not_repeated(api: Client) -> None:
    for given in (b"\xff", b"a\tb", b'"><script>', b"a;b", b"\xc3\xbc"):
        request = get(b"X-Request-Id: " + given).replace(b"KEY", api.key.encode())
        status, headers, _ = await raw(api, request)
        assert status == 200
        assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"]), given


async def test_a_key_that_is_no_text_is_a_wrong_key(api: Client) -> None:
    for given in (b"\xff\xfe", b"sk_\xc3\xbc_\xc3\xbc", b"x" * 8000, b"'; DROP TABLE api_keys; --"):
        assert_problem(await raw(api, get().replace(b"KEY", given)), 401)
        assert_problem(
            await raw(
                api, get(b"Authorization: Bearer " + given).replace(b"X-API-Key: KEY\r\n", b"")
            ),
            401,
        )


# Paths


PAGE = "/docs"
ELSEWHERE = (
    PAGE + "/../../../../etc/passwd",
    PAGE + "/..%2f..%2f..%2fetc%2fpasswd",
    PAGE + "/%2e%2e/app.py",
    PAGE + "/..\\..\\app.py",
    PAGE + "/index.html%00.js",
    PAGE + "//etc/passwd",
    PAGE + "/./main.js",
    "//v1/series",
    "/v1/../metrics",
    "/v1/series/..%2fkeys",
    "/v1/series/../keys",
    "/v1/%73eries/",
    "/v1/series;x=1",
)


async def test_paths_lead_nowhere_else(api: Client) -> None:
    for path in ELSEWHERE:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {api.key}\r\n\r\n"
        assert_problem(await raw(api, request.encode()), 404)
