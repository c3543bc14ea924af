"""Login, logout, keys that end, and forms that come from elsewhere."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from api_testbed import Client, Serve, make_key
from ui_pages import shown

from ssmd_stack.database import Database

Session = aiohttp.ClientSession


async def form_token(http: Session, api: Client, path: str = "/ui/login") -> str:
    async with http.get(api.base + path) as reply:
        found = re.search(r'name="token" value="([^"]+)"', await reply.text())
    assert found
    return found[1]


async def log_in(http: Session, api: Client, key: str, following: str = "/ui", **more: str) -> str:
    """The place that a login leads to, or the page that it answers with."""
    form = {"token": await form_token(http, api), "key": key, "next": following, **more}
    async with http.post(f"{api.base}/ui/login", data=form, allow_redirects=False) as reply:
        return reply.headers.get("Location") or f"{reply.status} {await reply.text()}"


def session() -> Session:
    return Session(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def test_a_key_opens_the_pages_until_it_is_logged_out(api: Client) -> None:
    async with session() as http:
        async with http.get(f"{api.base}/ui/markets?q=win", allow_redirects=False) as reply:
            assert reply.status == 303
            assert reply.headers["Location"] == "/ui/login?next=/ui/markets?q%3Dwin"
        assert await log_in(http, api, api.key, "/ui/markets?q=win") == "/ui/markets?q=win"
        [cookie] = [each for each in http.cookie_jar if each.key == "ssmd_ui_key"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/ui"
        assert not cookie["secure"]
        days = int(cookie["max-age"]) // 86400
        async with http.get(f"{api.base}/ui/login") as reply:
            assert f"for {days} days or until you log out" in await reply.text()
        manual = (Path(__file__).parents[3] / "docs/ui.md").read_text()
        assert f"for {days} days or until you log out" in manual
        async with http.get(f"{api.base}/ui") as reply:
            page = await reply.text()
            assert reply.status == 200
        # The API's own routes do not know the cookie.
        async with http.get(f"{api.base}/v1/series") as reply:
            assert reply.status == 401
        form = {"token": re.findall(r'name="token" value="([^"]+)"', page)[0]}
        async with http.post(f"{api.base}/ui/logout", data=form, allow_redirects=False) as reply:
            assert reply.headers["Location"] == "/ui/login"
        async with http.get(f"{api.base}/ui", allow_redirects=False) as reply:
            assert reply.status == 303


async def test_behind_tls_the_cookie_is_secure(serve: Serve) -> None:
    async with serve(api_trust_forwarded_for=True) as api, session() as http:
        form = {"token": await form_token(http, api), "key": api.key, "next": "/ui"}
        async with http.post(
            f"{api.base}/ui/login",
            data=form,
            allow_redirects=False,
            headers={"X-Forwarded-Proto": "https"},
        ) as reply:
            assert "Secure" in reply.headers.getall("Set-Cookie")[0]


@pytest.mark.parametrize("following", ["//evil.test", "https://evil.test", "/v1/keys", "/ui\\@x"])
async def test_a_login_leads_nowhere_else(api: Client, following: str) -> None:
    async with session() as http:
        assert await log_in(http, api, api.key, following) == "/ui"


async def test_wrong_keys_are_told_of_and_then_turned_away(serve: Serve) -> None:
    async with serve(api_failed_logins_per_minute=2) as api, session() as http:
        for _ in range(2):
            answer = await log_in(http, api, "sk_test_nothing")
            assert answer.startswith("401")
            assert "wrong, expired or revoked" in answer
        assert (await log_in(http, api, "sk_test_nothing")).startswith("429")


async def test_a_key_without_the_scope_is_refused(api: Client, database: Database) -> None:
    key = await make_key(database, "admin")
    async with session() as http:
        answer = await log_in(http, api, key)
    assert answer.startswith("403")
    assert "scope “read”" in answer


async def test_an_expired_key_is_asked_for_anew_once(serve: Serve, database: Database) -> None:
    async with serve(api_key_memory_seconds=0, api_failed_logins_per_minute=1) as api:
        key = await make_key(database, "read", expires_at=datetime.now(UTC) + timedelta(days=1))
        cookies = {"ssmd_ui_key": key}
        assert (await shown(api, "/ui/series", cookies=cookies)).status == 200
        async with database.connect() as connection:
            await connection.execute("UPDATE api_keys SET expires_at = now() WHERE name = 'test'")
        reply = await shown(api, "/ui/series", cookies=cookies)
        assert reply.status == 303
        assert reply.headers["Location"] == "/ui/login?next=/ui/series&why=ended"
        # The browser forgets it: it is not tried again, and again.
        assert 'ssmd_ui_key=""' in reply.headers["Set-Cookie"]
        login = await shown(api, reply.headers["Location"], cookies={})
        assert "it has expired or was revoked" in login.text


async def test_forms_from_elsewhere_do_nothing(api: Client) -> None:
    async with session() as http:
        await log_in(http, api, api.key)
        token = await form_token(http, api, "/ui")
        for form, headers in (
            ({}, {}),
            ({"token": "x"}, {}),
            ({"token": token}, {"Sec-Fetch-Site": "cross-site"}),
        ):
            async with http.post(
                f"{api.base}/ui/logout", data=form, headers=headers, allow_redirects=False
            ) as reply:
                assert reply.status == 403
                assert "The form was sent from elsewhere" in await reply.text()
        async with http.get(f"{api.base}/ui", allow_redirects=False) as reply:
            assert reply.status == 200
    # One that brings its own token lacks the cookie that goes with it.
    form = {"token": token, "key": api.key}
    async with (
        session() as http,
        http.post(f"{api.base}/ui/login", data=form, allow_redirects=False) as reply,
    ):
        assert reply.status == 403
        assert "ssmd_ui_key" not in str(reply.headers)


async def test_a_setting_turns_the_pages_off(serve: Serve) -> None:
    async with serve(api_ui=False) as api:
        for path in ("/ui", "/ui/login", "/ui/static/ui.js"):
            reply = await shown(api, path)
            assert reply.status == 404
            assert reply.headers["Content-Type"].startswith("application/problem+json")
