"""For browsers and other houses: CORS, OPTIONS, HEAD, versions, deprecation, paths without /v1."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import aiohttp
import pytest
from api_testbed import Client, Reply, Serve, make_key
from pydantic import ValidationError

from ssmd_api import answers
from ssmd_api.app import ROUTES, make_app
from ssmd_api.context import Context
from ssmd_api.deprecation import Deprecated
from ssmd_api.settings import ApiSettings
from ssmd_common import health
from ssmd_common.health import Health
from ssmd_stack.database import Database

PAGE = "https://desk.example.com"
OTHER = "https://elsewhere.example.com"


async def preflight(api: Client, origin: str, path: str = "/v1/markets") -> Reply:
    asks = {"Origin": origin, "Access-Control-Request-Method": "GET", "X-API-Key": ""}
    return await api.ask("OPTIONS", path, headers=asks)


async def test_no_page_may_ask_unless_it_is_named(api: Client) -> None:
    reply = await preflight(api, PAGE)
    assert reply.status == 204
    assert not [name for name in reply.headers if name.startswith("Access-Control")]
    reply = await api.get("/v1/markets", headers={"Origin": PAGE})
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert reply.headers["Vary"] == "Accept, Accept-Encoding"


async def test_a_page_of_a_named_origin_may_ask_and_read(serve: Serve) -> None:
    async with serve(api_cors_origins=f"http://localhost:5173,{PAGE}") as api:
        reply = await preflight(api, PAGE)
        assert reply.headers["Access-Control-Allow-Origin"] == PAGE
        assert reply.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
        sent = reply.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"X-API-Key", "If-None-Match", "Last-Event-ID", "Idempotency-Key"} <= set(sent)
        for path in ("/v1/markets", "/v1/markets/NONE", "/v1/markets?limit=0"):
            reply = await api.get(path, headers={"Origin": PAGE})
            assert reply.headers["Access-Control-Allow-Origin"] == PAGE, path
            shown = reply.headers["Access-Control-Expose-Headers"].split(", ")
            # Vary is for those who keep replies.
            assert set(answers.components()["headers"]) - {"Vary"} == set(shown)
        wrong = await api.get("/v1/markets", headers={"Origin": PAGE, "X-API-Key": "sk_no"})
        assert (wrong.status, wrong.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
        for origin in (OTHER, "null", PAGE.upper(), f"{PAGE}.evil.example.com"):
            assert "Access-Control-Allow-Origin" not in (await preflight(api, origin)).headers
            reply = await api.get("/v1/markets", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in reply.headers
            assert "Origin" in reply.headers["Vary"]
        assert "Origin" in (await api.get("/v1/markets")).headers["Vary"]


async def test_any_page_may_ask_where_that_is_said(serve: Serve) -> None:
    async with serve(api_cors_origins="*") as api:
        assert (await preflight(api, OTHER)).headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Origin" not in (await api.get("/v1/markets")).headers


@pytest.mark.parametrize("origins", ["desk.example.com", f"{PAGE}/", f"{PAGE}, {OTHER}", "*,x"])
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValidationError):
        ApiSettings(database_url="postgresql://x/x", api_cors_origins=origins)


@pytest.mark.usefixtures("universe")
async def test_head_says_what_get_says_without_a_body(api: Client) -> None:
    """But for what is another each time, or is not sized before it is sent."""
    aside = {"Date", "X-Ssmd-Age", "RateLimit", "Transfer-Encoding", "Content-Length"}
    for method, path, *_ in ROUTES:
        if method != "GET" or path in ("/v1/changes", "/v1/snapshot"):
            continue
        asked = path.replace("{event_ticker}", "KXBTCD-26FEB03").replace("{series}", "KXBTCD")
        asked = asked.replace("{id}", "1")
        asked = asked.replace("{ticker}", "KXOLD-25-A" if "markets" in path else "KXBTCD")
        asked += "?q=bitcoin" if path == "/v1/search" else ""
        headers = {"Accept-Encoding": "identity", "X-Request-Id": "mine"}
        got = await api.get(asked, headers=headers)
        head = await api.ask("HEAD", asked, headers=headers)
        assert (head.status, head.body) == (got.status, b""), path
        names = set(got.headers) - aside
        assert {n: head.headers.get(n) for n in names} == {n: got.headers[n] for n in names}, path


async def test_every_reply_says_the_version(api: Client) -> None:
    for path in ("/", "/v1/markets", "/v1/nothing", "/livez", "/openapi.json"):
        assert (await api.get(path)).headers["X-Ssmd-Version"] == version("ssmd-api")


async def test_a_route_that_will_go_says_so(api: Client, database: Database) -> None:
    mark = Deprecated(
        datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC), "/v1/series"
    )
    marked: Context = replace(api.context, deprecated={"/v1/events": mark})
    app = make_app(marked, Health("ssmd-api"))
    async with (
        health.serve(app, "127.0.0.1", 0, "API_PORT") as port,
        aiohttp.ClientSession() as http,
    ):
        key = await make_key(database, "read")
        client = Client(http, f"http://127.0.0.1:{port()}", key, marked, api.health)
        for path in ("/v1/events", "/v1/events?limit=0"):
            headers = (await client.get(path)).headers
            assert headers["Deprecation"] == "@1796083200"
            assert headers["Sunset"] == "Tue, 01 Jun 2027 00:00:00 GMT"
            assert '</v1/series>; rel="successor-version"' in headers.getall("Link")
        document: Any = await client.ok("/openapi.json")
        described = document["paths"]["/v1/events"]["get"]
        assert described["deprecated"] is True
        assert {"Deprecation", "Sunset"} <= set(described["responses"]["200"]["headers"])
        for path in ("/v1/series", "/v1/events/NONE"):
            assert "Deprecation" not in (await client.get(path)).headers
        assert "deprecated" not in document["paths"]["/v1/series"]["get"]


@pytest.mark.parametrize("path", ["/markets", "/events", "/fees", "/markets/A%2FB", "/fees/X"])
async def test_paths_of_the_first_design_lead_to_v1(api: Client, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        asked = f"{path}?status=open&q=a%20b&q=%C3%BC"
        reply = await api.ask(method, asked, allow_redirects=False, headers={"X-API-Key": ""})
        assert reply.status == 308
        assert reply.headers["Location"] == f"/v1{asked}"
    assert (await api.ask("OPTIONS", path)).status == 204


@pytest.mark.usefixtures("universe")
async def test_who_follows_the_redirect_finds_the_rows(api: Client) -> None:
    assert await api.names("/markets?series=KXOLD") == ["KXOLD-25-A"]
    for path in ("/marketsx", "/market", "/v1/v1/markets", "/series"):
        assert (await api.get(path)).status == 404


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("pages", [True, False])
async def test_who_comes_to_the_front_door_is_shown_in(serve: Serve, pages: bool) -> None:
    """Without a key: people are led to pages, programs are told where things are."""
    async with serve(api_ui=pages) as api:

        async def ask(method: str, path: str, accept: str) -> Reply:
            headers = {"Accept": accept, "X-API-Key": ""}
            return await api.ask(method, path, headers=headers, allow_redirects=False)

        for method in ("GET", "HEAD"):
            led = await ask(method, "/", BROWSER)
            assert (led.status, led.headers["Location"]) == (303, "/ui" if pages else "/docs")
            assert led.headers["Vary"] == "Accept"
        for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", ""):
            told = await ask("GET", "/", accept)
            assert told.status == 200
            assert told.headers["Content-Type"].startswith("application/json")
            assert told.headers["Vary"].startswith("Accept")
            assert ("pages" in told.json["places"]) is pages
        for place in told.json["places"].values():
            reply = await api.ask("GET", place)
            assert reply.status == 200, place
        for method in ("POST", "DELETE"):
            refused = await ask(method, "/", "*/*")
            assert refused.status == 405
            assert refused.headers["Content-Type"].startswith("application/problem+json")


async def test_a_slash_too_many_is_no_dead_end(api: Client) -> None:
    for path in ("/docs/", "/ui/"):
        reply = await api.ask("GET", path, allow_redirects=False)
        assert (reply.status, reply.headers["Location"]) == (308, path[:-1])


async def test_a_path_that_is_not_there_says_where_all_are(api: Client) -> None:
    for path in ("/v1", "/v1/market", "/nowhere"):
        reply = await api.get(path)
        assert reply.status == 404
        assert reply.json["detail"] == f"GET {path}: Not Found; /docs lists what is here"


async def test_every_path_has_options(api: Client) -> None:
    for path in ("/", "/docs", "/openapi.json"):
        reply = await preflight(api, PAGE, path)
        assert (reply.status, reply.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
