"""The admin pages over HTTP: keys, requests of services, runs, and who may not see them."""

import re
from pathlib import Path

import aiohttp
import pytest
from api_testbed import Client, make_key
from api_universe import insert_status
from ui_pages import Shown, fill_work, opened, reading, shown, words

from ssmd_common import requests
from ssmd_stack.database import Database


async def sent(api: Client, path: str, form: dict[str, str], key: str = "") -> Shown:
    """The answer to a form that is sent by whoever has the key."""
    async with (
        aiohttp.ClientSession(cookies={"ssmd_ui_key": key or api.key}) as http,
        http.post(api.base + path, data=form, allow_redirects=False) as reply,
    ):
        return Shown(reply.status, await reply.text(), reply.headers)


async def form_of(api: Client, path: str) -> dict[str, str]:
    """What the page's forms bear."""
    page = (await shown(api, path)).text
    found = dict(re.findall(r'name="(token|nonce)" value="([^"]+)"', page))
    assert found.keys() == {"token", "nonce"}
    return found


async def count(database: Database, table: str) -> int:
    async with database.connect() as connection:
        [(found,)] = await (await connection.execute(f"SELECT count(*) FROM {table}")).fetchall()
    return int(found)


async def test_only_admins_see_and_do_it(api: Client, database: Database) -> None:
    reader = await make_key(database, "read")
    token = (await form_of(api, "/ui/admin"))["token"]
    for path in ("/ui/admin", "/ui/admin/keys"):
        page = await shown(api, path, cookies={"ssmd_ui_key": reader})
        assert page.status == 403
        assert "This needs a key with scope &#39;admin&#39;." in page.text
        assert 'href="/ui/admin"' not in page.text
        assert 'href="/ui/markets?' in page.text
        assert (await shown(api, path)).status == 200
    forms = (
        ("/ui/admin/requests", {"task": "cache:verify", "nonce": "a"}),
        ("/ui/admin/keys", {"name": "x", "scopes": "admin", "nonce": "a"}),
        ("/ui/admin/keys/1/revoke", {}),
    )
    for path, form in forms:
        assert (await sent(api, path, {**form, "token": token}, reader)).status == 403
        for wrong in ({}, {"token": "x"}):
            reply = await sent(api, path, {**form, **wrong})
            assert reply.status == 403
            assert "The form was sent from elsewhere" in reply.text
    assert await count(database, "requests") == 0
    assert await count(database, "api_key_audit") == 0


async def test_a_key_is_shown_once_and_ends_when_it_is_revoked(
    api: Client, database: Database
) -> None:
    path = "/ui/admin/keys"
    form = {**await form_of(api, path), "name": "of <b>Ann</b>", "scopes": "read"}
    bad = await sent(api, path, {**form, "rate_limit_per_minute": "many", "scopes": "odd"})
    assert bad.status == 400
    assert 'value="of &lt;b&gt;Ann&lt;/b&gt;"' in bad.text
    assert "must" in words(bad.text) or "Expected" in words(bad.text)
    made = await sent(api, path, {**form, "expires_at": "30d", "rate_limit_per_minute": "77"})
    assert made.status == 200
    assert made.headers["Cache-Control"] == "no-store"
    assert "77 requests a minute · expires" in words(made.text)
    [key] = set(re.findall(r"sk_[a-z]+_\w+", made.text))
    # The form is sent once more by a reload: no second key.
    again = await sent(api, path, form)
    assert again.status == 409
    assert "this form has made its key" in again.text.lower()
    assert (await api.get("/v1/series", headers={"X-API-Key": key})).status == 200
    page = (await shown(api, path)).text
    assert key not in page
    assert "made of &lt;b&gt;Ann&lt;/b&gt;" in words(page)
    assert "never" not in words(page[page.index("of &lt;b&gt;Ann") :].split("</tr>")[0])
    number = re.findall(r'<tr id="key-(\d+)"', page)[-1]
    revoked = await sent(api, f"{path}/{number}/revoke", {"token": form["token"]})
    assert revoked.headers["Location"] == path
    assert (await api.get("/v1/series", headers={"X-API-Key": key})).status == 401
    trail = words((await shown(api, path)).text)
    assert trail.index("revoked of &lt;b&gt;Ann") < trail.index("made of &lt;b&gt;Ann")
    missing = await sent(api, f"{path}/999/revoke", {"token": form["token"]})
    assert missing.status == 404
    assert "No key is called &#39;999&#39;." in missing.text


async def test_a_service_is_asked_once_by_a_form(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await insert_status(connection, "sync", {"jobs": {"fees": {"every_seconds": 60}}})
    path = "/ui/admin/requests"
    form = await form_of(api, "/ui/admin")
    for _ in range(2):
        for task in ("sync:fees", "cache:verify"):
            reply = await sent(api, path, {**form, "task": task})
            assert reply.headers["Location"] == "/ui/admin#requests"
    assert await count(database, "requests") == 2
    await sent(api, path, {**await form_of(api, "/ui/admin"), "task": "cache:verify"})
    assert await count(database, "requests") == 3
    for task, status in (("sync:odd", 404), ("cache:odd", 400), ("", 400)):
        assert (await sent(api, path, {**form, "task": task})).status == status
    page = await shown(api, "/ui/admin")
    assert words(page.text).count("waits for cache") == 2
    # While something is open it is read anew each second, else seldom.
    assert 'data-every="1"' in page.text


@pytest.mark.usefixtures("universe")
async def test_what_was_wrong_is_told_with_its_reasons(api: Client, database: Database) -> None:
    empty = words((await shown(api, "/ui/admin")).text)
    assert "No job has run yet." in empty
    assert "Not known: no service has said what it read of the exchange" in empty
    await fill_work(database)
    page = await shown(api, "/ui/admin")
    said = words(page.text)
    for sentence in (
        "1 row, 1 field rejected",
        "KXBAD-1 status: &#39;halted&#39; &lt;img src=x",
        "markets.floor_strike &#39;x&#39; is none",
        "1 difference in 1,200 rows and 1,300 entries",
        "m:1 status: &#39;active&#39;, should be &#39;open&#39;",
        "unknown field market is_new 12 true sync",
        "sync fees never 60 s",
    ):
        assert sentence in said, sentence
    assert 'data-every="10"' in page.text
    now = words((await shown(api, "/ui")).text)
    assert "Wait: lifecycle reads what was missed over REST." in now
    assert "cdc 4 1,234 0/16B3748 cache 3 1,234 0/16B3748 Wait: it takes the new epoch" in now


async def test_a_result_comes_by_itself_and_a_reload_makes_no_second_key(
    api: Client, database: Database, tmp_path: Path
) -> None:
    has = "text => document.getElementById('main')?.textContent.includes(text)"
    async with reading(api, tmp_path) as page, database.connect() as connection:
        await opened(page, f"{api.base}/ui/admin")
        await page.evaluate("() => document.querySelector('[value=\"cache:verify\"]').click()")
        await page.until(has, "waits for cache")
        await page.until("() => document.documentElement.dataset.ready === 'yes'")
        await page.evaluate("() => { window.here = true; }")
        taken = await requests.take(connection, "cache", "verify")
        await page.until(has, "works on it")
        await requests.answer(connection, taken, {"rows": 5, "entries": 6, "drift": 0})
        await page.until(has, "0 differences in 5 rows and 6 entries")
        assert await page.evaluate("() => window.here")
        # Nothing is awaited any more.
        await page.until("() => document.getElementById('live').dataset.every === '10'")
        await opened(page, f"{api.base}/ui/admin/keys")
        await page.evaluate(
            """() => {
              document.querySelector("[name=name]").value = "of Bob";
              document.querySelector(".make button").click();
            }"""
        )
        await page.until(has, "of Bob” is made")
        await page.until("() => document.documentElement.dataset.ready === 'yes'")
        # It stays while its reader goes and pastes it somewhere.
        assert await page.evaluate("() => document.getElementById('live')") is None
        assert (await page.evaluate("() => document.querySelector('code').textContent"))[
            :3
        ] == "sk_"
        await page.call("Page.reload")
        await page.until(has, "madeof Bob")
        assert await count(database, "api_key_audit") == 1
        assert page.complaints == []
