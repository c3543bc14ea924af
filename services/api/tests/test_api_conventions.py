"""Keys, limits, problem documents, ETags, compression: what every route has in common."""

import asyncio
import gzip
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from api_testbed import Client, Serve, make_key
from api_universe import insert
from prometheus_client import REGISTRY

from ssmd_api import codings, cursors
from ssmd_api.app import ROUTES
from ssmd_common import apikeys
from ssmd_stack.database import Database

PATHS = [
    (method, re.sub(r"\{id\}", "1", re.sub(r"\{\w+\}", "X", path)), scope)
    for method, path, scope, _ in ROUTES
]


# Keys


async def test_every_route_needs_a_key(api: Client) -> None:
    for method, path, _ in PATHS:
        async with api.http.request(method, api.base + path) as reply:
            assert reply.status == 401, path
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            assert (await reply.json(content_type=None))["type"] == "urn:ssmd:problem:unauthorized"


async def test_admin_routes_need_the_scope(api: Client, database: Database) -> None:
    key = await make_key(database, "read")
    admin = [(method, path) for method, path, scope in PATHS if scope == "admin"]
    assert admin
    for method, path in admin:
        reply = await api.ask(method, path, headers={"X-API-Key": key})
        assert reply.status == 403, path
        assert "admin" in reply.json["detail"]


async def test_an_admin_key_alone_does_not_read(api: Client, database: Database) -> None:
    key = await make_key(database, "admin")
    assert (await api.get("/v1/series", headers={"X-API-Key": key})).status == 403


async def test_a_key_comes_in_either_header(api: Client) -> None:
    for headers in (
        {"X-API-Key": api.key},
        {"Authorization": f"Bearer {api.key}"},
        {"Authorization": f"bearer   {api.key}"},
    ):
        async with api.http.get(f"{api.base}/v1/series", headers=headers) as reply:
            assert reply.status == 200


async def test_a_wrong_key_is_refused(api: Client) -> None:
    good = api.key
    for wrong in (
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good + "_",
        good.replace("sk_test_", "sk_live_"),
        good.swapcase(),
        "sk_test_nosuchkey1_" + "x" * 43,
        "nonsense",
        "sk____" + "x" * 43,
        good.replace("_", "__", 1),
    ):
        assert (await api.get("/v1/series", headers={"X-API-Key": wrong})).status == 401, wrong
    assert (await api.get("/v1/series")).status == 200


async def test_expired_and_revoked_keys_are_refused(api: Client, database: Database) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    for more in ({"expires_at": past}, {"revoked_at": past}):
        key = await make_key(database, "read", **more)
        assert (await api.get("/v1/series", headers={"X-API-Key": key})).status == 401


async def test_a_key_expires_while_it_is_remembered(serve: Serve, database: Database) -> None:
    async with serve(api_key_memory_seconds=300) as api:
        expires = datetime.now(UTC) + timedelta(seconds=1.5)
        key = await make_key(database, "read", expires_at=expires)
        assert (await api.get("/v1/series", headers={"X-API-Key": key})).status == 200
        await asyncio.sleep((expires - datetime.now(UTC)).total_seconds())
        assert (await api.get("/v1/series", headers={"X-API-Key": key})).status == 401


async def test_wrong_keys_are_limited_and_known_ones_go_on(
    serve: Serve, database: Database
) -> None:
    async with serve(api_failed_logins_per_minute=3) as api:
        assert (await api.get("/v1/series")).status == 200
        wrong = {"X-API-Key": "sk_test_nosuchkey1_" + "x" * 43}
        statuses = [(await api.get("/v1/series", headers=wrong)).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        refused = await api.get("/v1/series", headers=wrong)
        assert int(refused.headers["Retry-After"]) >= 1
        # A good key that is in use already passes; one that is new to this address must wait.
        assert (await api.get("/v1/series")).status == 200
        other = {"X-API-Key": await make_key(database, "read")}
        assert (await api.get("/v1/series", headers=other)).status == 429


async def test_addresses_behind_a_proxy_are_told_apart_if_it_is_trusted(serve: Serve) -> None:
    wrong = {"X-API-Key": "sk_test_nosuchkey1_" + "x" * 43}
    for trusted, expected in ((True, 401), (False, 429)):
        async with serve(api_failed_logins_per_minute=1, api_trust_forwarded_for=trusted) as api:
            statuses = [
                (
                    await api.get(
                        "/v1/series", headers={**wrong, "X-Forwarded-For": f"spoofed, 10.0.0.{n}"}
                    )
                ).status
                for n in range(3)
            ]
            assert statuses == [401, expected, expected]


async def test_the_last_use_of_a_key_is_kept(api: Client, database: Database) -> None:
    assert (await api.get("/v1/series")).status == 200
    await api.context.authenticator.write_uses()
    async with database.connect() as connection:
        row = await (await connection.execute("SELECT last_used_at FROM api_keys")).fetchone()
    assert row
    assert row[0] is not None


# Routes about keys


async def test_keys_are_made_listed_and_revoked(api: Client) -> None:
    made = await api.ask(
        "POST",
        "/v1/keys",
        json={"name": "bot", "scopes": ["read"], "expires_at": "90d", "rate_limit_per_minute": 7},
    )
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert apikeys.parse(made.json["key"])
    mine = {"X-API-Key": made.json["key"]}
    assert (await api.get("/v1/series", headers=mine)).status == 200
    listed = (await api.ok("/v1/keys"))["keys"]
    assert [row["name"] for row in listed] == ["test", "bot"]
    assert listed[1]["rate_limit_per_minute"] == 7
    assert not {"key", "key_hash"} & set(listed[1])
    revoked = await api.ask("DELETE", f"/v1/keys/{made.json['id']}")
    assert (revoked.status, revoked.body) == (204, b"")
    assert (await api.get("/v1/series", headers=mine)).status == 401
    assert (await api.ask("DELETE", f"/v1/keys/{made.json['id']}")).status == 204
    for path in ("/v1/keys/99999", "/v1/keys/x", "/v1/keys/" + "9" * 30):
        assert (await api.ask("DELETE", path)).status == 404


async def test_the_list_of_keys_has_pages(api: Client) -> None:
    for number in range(4):
        assert (await api.ask("POST", "/v1/keys", json={"name": str(number)})).status == 201
    names, cursor = [], ""
    while cursor is not None:
        document = await api.ok(f"/v1/keys?limit=2{cursor and f'&cursor={cursor}'}")
        names += [row["name"] for row in document["keys"]]
        cursor = document["cursor"]
    assert names == ["test", "0", "1", "2", "3"]


BAD_KEY_REQUESTS = (
    ("", "body"),
    ("{}", "body"),
    ('{"name":"x","admin":true}', "body"),
    ('{"name":""}', "name"),
    ('{"name":"x","scopes":["root"]}', "scopes"),
    ('{"name":"x","scopes":[]}', "scopes"),
    ('{"name":"x","rate_limit_per_minute":0}', "rate_limit_per_minute"),
    ('{"name":"x","rate_limit_per_minute":1.5}', "rate_limit_per_minute"),
    ('{"name":"x","rate_limit_per_minute":1e308}', "rate_limit_per_minute"),
    ('{"name":"x","rate_limit_per_minute":1e999}', "body"),
    ('{"name":"x","rate_limit_per_minute":' + "9" * 100_000 + "}", "body"),
    ('{"name":"x","rate_limit_per_minute":1000001}', "rate_limit_per_minute"),
    ('{"name":"a\\u0085b"}', "name"),
    ('{"name":"x","expires_at":"2020-01-01"}', "expires_at"),
    ('{"name":"x","expires_at":"soon"}', "expires_at"),
)


async def test_a_bad_request_for_a_key(api: Client) -> None:
    for body, parameter in BAD_KEY_REQUESTS:
        reply = await api.ask("POST", "/v1/keys", data=body)
        assert reply.status == 400, body
        assert reply.json["errors"][0]["parameter"] == parameter


# Limits


async def test_each_key_has_its_own_rate_limit(api: Client, database: Database) -> None:
    mine = {"X-API-Key": await make_key(database, "read", rate=3)}
    replies = [await api.get("/v1/series", headers=mine) for _ in range(5)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert [reply.headers["RateLimit"].partition(";t=")[0] for reply in replies] == [
        '"minute";r=2',
        '"minute";r=1',
        '"minute";r=0',
        '"minute";r=0',
        '"minute";r=0',
    ]
    assert replies[0].headers["RateLimit-Policy"] == '"minute";q=3;w=60'
    assert 1 <= int(replies[3].headers["Retry-After"]) <= 20
    assert replies[3].json["status"] == 429
    assert (await api.get("/v1/series")).status == 200


async def test_requests_of_one_instant_each_count(api: Client, database: Database) -> None:
    mine = {"X-API-Key": await make_key(database, "read", rate=5)}
    replies = await asyncio.gather(*(api.get("/v1/series", headers=mine) for _ in range(20)))
    assert sorted(reply.status for reply in replies) == [200] * 5 + [429] * 15


# Bad input


BAD_PARAMETERS = (
    ("/v1/markets?statsu=open", ["statsu"]),
    ("/v1/markets?status=dead", ["status"]),
    ("/v1/markets?status=", ["status"]),
    ("/v1/markets?closing_before=tomorrow", ["closing_before"]),
    ("/v1/markets?closing_after=2026-13-01", ["closing_after"]),
    ("/v1/markets?closing_before=24", ["closing_before"]),
    ("/v1/markets?closing_before=0001-01-01T00:00:00%2B10:00", ["closing_before"]),
    ("/v1/markets?min_volume=-1", ["min_volume"]),
    ("/v1/markets?min_volume=1e3", ["min_volume"]),
    ("/v1/markets?min_volume=99999999999999999999", ["min_volume"]),
    ("/v1/markets?games_only=yes", ["games_only"]),
    ("/v1/markets?sort=price", ["sort"]),
    ("/v1/markets?cursor=x", ["cursor"]),
    ("/v1/markets?cursor=%F0%9F%A6%84", ["cursor"]),
    ("/v1/markets?category=%00", ["category"]),
    ("/v1/markets?category=" + "x" * 129, ["category"]),
    ("/v1/markets?q=x", ["q"]),
    ("/v1/stats/series?series=A&series=B", ["series"]),
    ("/v1/markets?" + "&".join(["series=A"] * 51), ["series"]),
    ("/v1/markets?trading=true", ["trading"]),
    ("/v1/markets?trading=yes&status=settled&status=closed", ["trading"]),
    ("/v1/markets?trading=no&status=active", ["trading"]),
    ("/v1/markets?count=all", ["count"]),
    ("/v1/markets?sort=", ["sort"]),
    ("/v1/markets?sort=volume,title", ["sort"]),
    ("/v1/markets?sort=volume,-volume", ["sort"]),
    ("/v1/markets?sort=ticker,volume", ["sort"]),
    ("/v1/markets?sort=-volume,close_time", ["sort"]),
    ("/v1/markets?sort=-volume,close_time&volume.gte=0", ["sort"]),
    ("/v1/markets?sort=close_time,volume&close_time.null=true", ["sort"]),
    ("/v1/events?sort=strike_date,-event_ticker,strike_date", ["sort"]),
    ("/v1/markets?sort=open_interest&min_volume=1", ["sort"]),
    ("/v1/markets?sort=volume&volume_24h.gt=1", ["sort"]),
    ("/v1/markets?sort=-volume&volume_24h.lt=1", ["sort"]),
    ("/v1/markets?sort=volume&volume_24h.lte=0", ["sort"]),
    ("/v1/markets?sort=-volume&close_time.null=true", ["sort"]),
    ("/v1/markets?sort=-open_interest,ticker", ["sort"]),
    ("/v1/markets?volume.gte=-1", ["volume.gte"]),
    ("/v1/markets?close_time.gte=soon", ["close_time.gte"]),
    ("/v1/markets?close_time.null=yes", ["close_time.null"]),
    ("/v1/markets?volume.gte=1&volume.gt=1", ["volume.gte"]),
    ("/v1/markets?volume.gte=1&min_volume=1", ["volume.gte"]),
    ("/v1/markets?closing_after=1h&close_time.gt=1h", ["close_time.gt"]),
    ("/v1/markets?closing_before=1h&close_time.null=true", ["close_time.null"]),
    ("/v1/markets?volume.gte=2&volume.lt=2", ["volume.lt"]),
    ("/v1/markets?close_time.gt=2h&close_time.lte=1h", ["close_time.lte"]),
    ("/v1/markets?volume.eq=2", ["volume.eq"]),
    ("/v1/markets?volume=2", ["volume"]),
    ("/v1/markets?open_time.gte=1h", ["open_time.gte"]),
    ("/v1/export?entity=events&volume.gte=1", ["volume.gte"]),
    ("/v1/markets?as_of=-0s&volume.gte=1", ["volume.gte"]),
    ("/v1/markets?limit=0&bogus=1&status=x", ["limit", "status", "bogus"]),
    ("/v1/markets?" + "&".join(["tag=x"] * 51), ["tag"]),
    ("/v1/markets/X?x=1", ["x"]),
    ("/v1/markets/X/lifecycle?cursor=bogus", ["cursor"]),
    ("/v1/events?status=active", ["status"]),
    ("/v1/events?sort=volume", ["sort"]),
    ("/v1/events/X?x=1", ["x"]),
    ("/v1/series?is_game=1", ["is_game"]),
    ("/v1/series?is_game=false&games_only=true", ["is_game"]),
    ("/v1/series?active=TRUE", ["active"]),
    ("/v1/series/X?x=1", ["x"]),
    ("/v1/fees?x=1", ["x"]),
    ("/v1/fees/X?price=1.01", ["price"]),
    ("/v1/fees/X?price=-0.1", ["price"]),
    ("/v1/fees/X?price=NaN", ["price"]),
    ("/v1/fees/X?price=NaN&count=1", ["price"]),
    ("/v1/fees/X?price=0.5&count=1e9", ["count"]),
    ("/v1/fees/X?count=5", ["price"]),
    ("/v1/fees/X?as_of=x", ["as_of"]),
    ("/v1/search", ["q"]),
    ("/v1/search?q=a", ["q"]),
    ("/v1/search?q=ab&kind=x", ["kind"]),
    ("/v1/stats/series?x=1", ["x"]),
    ("/v1/stats/markets?limit=0", ["limit"]),
    ("/v1/stats/sync?x=1", ["x"]),
    ("/v1/keys?x=1", ["x"]),
)


async def test_bad_parameters_are_named(api: Client) -> None:
    for path, parameters in BAD_PARAMETERS:
        reply = await api.get(path)
        assert reply.status == 400, path
        assert reply.headers["Content-Type"].startswith("application/problem+json")
        named = sorted(fault["parameter"] for fault in reply.json["errors"])
        assert named == sorted(parameters), path
        assert all(name in reply.json["detail"] for name in parameters)


RIGHT_USES = {
    "/v1/markets?statsu=open": "the nearest is status ",
    "/v1/markets?volume_min=5": "the nearest is volume.gte (there are gt, gte, lt, lte, null)",
    "/v1/markets?max_open_interest=5": "the nearest is open_interest.lt ",
    "/v1/markets?close_time__before=5h": "the nearest is close_time.lt ",
    "/v1/markets?close_time.after=24h": "the nearest is close_time.gte ",
    "/v1/markets?volume=5": "say volume.gte and volume.lte",
    "/v1/markets?open_time.gte=24h": "no index orders; these have: close_time, volume, volume_24h,",
    "/v1/markets?sort=-volume,close_time": "give volume.gte=1, or event or series, beside it",
    "/v1/events?sort=strike_date,-event_ticker": "give strike_date.null=false, or event or",
    "/v1/events?sort=strike_date,event_ticker": "",
    "/v1/events?sort=strike_date,-event_ticker&strike_date.gt=0s": "",
    "/v1/markets?sort=-volume,close_time&volume.gte=1": "",
    "/v1/markets?sort=-volume,close_time&series=X": "",
    "/v1/markets?sort=-volume&close_time.null=true": "with close_time.null=true: ticker has",
    "/v1/markets?sort=volume&volume_24h.lte=0": "with volume_24h.lte: volume_24h has",
    "/v1/markets?sort=volume&volume_24h.null=false": "",
    "/v1/markets?sort=open_interest&min_volume=1": "no index with min_volume: -open_interest has",
    "/v1/markets?volume.gt=1&min_volume=2": "bounds the same side as min_volume: give one of them",
    "/v1/markets?bogus=1": "volume.{gt|gte|lt|lte|null}",
    "/v1/changes?as_of=-1s": "as_of",
}


async def test_what_is_refused_shows_the_nearest_right_use(api: Client) -> None:
    for path, shown in RIGHT_USES.items():
        reply = await api.get(path)
        assert reply.status == (400 if shown else 200), path
        assert shown in reply.json.get("detail", ""), (path, reply.json)


async def test_a_cursor_of_another_order_is_refused(api: Client, universe: None) -> None:
    cursor = (await api.ok("/v1/markets?limit=1&sort=volume"))["cursor"]
    reply = await api.get(f"/v1/markets?limit=1&cursor={cursor}")
    assert reply.status == 400
    assert reply.json["errors"][0]["parameter"] == "cursor"


async def test_a_cursor_belongs_to_its_filters_and_all_its_sort_keys(
    api: Client, universe: None
) -> None:
    path = "/v1/markets?limit=1&sort=-volume,close_time&volume.gte=1"
    cursor = (await api.ok(path))["cursor"]
    # What is shown of the rows is no filter.
    more = f"cursor={cursor}&count=exact&fields=ticker"
    assert (await api.ok(f"{path}&{more}"))["count"] == 6
    for other in (
        path.replace("gte=1", "gte=2"),
        f"{path}&trading=yes",
        f"{path}&series=KXBTCD",
        path.replace(",close_time", ""),
        path.replace("close_time", "-close_time"),
    ):
        reply = await api.get(f"{other}&cursor={cursor}")
        assert reply.status == 400, other
        assert [fault["parameter"] for fault in reply.json["errors"]] == ["cursor"]


async def test_a_forged_cursor_is_refused(api: Client) -> None:
    from ssmd_api.cursors import Cursor, encode

    several = "/v1/markets?sort=-volume,close_time&series=X&cursor="
    for keys in ((1,), (1, 2), (1, None, None), ("1", None), ()):
        filters = cursors.digest([("series", "X")])
        forged = encode(Cursor("-volume,close_time,-ticker", keys, "X", filters))
        assert (await api.get(several + forged)).json["errors"][0]["parameter"] == "cursor", keys
    for key in ("not a time", "'; DROP TABLE markets; --", 7):
        forged = encode(Cursor("close_time", key, "X"))
        reply = await api.get(f"/v1/markets?sort=close_time&cursor={forged}")
        assert reply.status == 400


async def test_a_problem_names_its_request(api: Client) -> None:
    reply = await api.get("/v1/markets/NONE", headers={"X-Request-Id": "abc-123"})
    assert reply.headers["X-Request-Id"] == "abc-123"
    assert reply.json["request_id"] == "abc-123"
    assert reply.json["instance"] == "/v1/markets/NONE"
    for unsafe in ("a b", "x" * 65, "ü"):
        reply = await api.get("/v1/markets/NONE", headers={"X-Request-Id": unsafe})
        assert re.fullmatch(r"[0-9a-f]{32}", reply.json["request_id"])
    assert (await api.get("/v1/series")).headers["X-Request-Id"]


async def test_wrong_methods_and_paths_are_problems_too(api: Client) -> None:
    reply = await api.ask("PUT", "/v1/series")
    assert reply.status == 405
    assert "GET" in reply.headers["Allow"]
    assert reply.json["status"] == 405
    assert (await api.get("/v2")).json["status"] == 404


async def test_a_fault_of_ours_is_500_and_tells_nothing(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr("ssmd_api.store.Store.stats_series", broken)
    reply = await api.get("/v1/stats/series")
    assert reply.status == 500
    assert reply.json["request_id"] == reply.headers["X-Request-Id"]
    assert b"hunter2" not in reply.body


# ETag, compression, HEAD


async def test_an_unchanged_reply_is_304(api: Client, database: Database, universe: None) -> None:
    first = await api.get("/v1/markets")
    tag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}(-gzip|-zstd)?"', tag)
    for given in (tag, f'"other", {tag}', "*"):
        again = await api.get("/v1/markets", headers={"If-None-Match": given})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == tag
    assert (await api.get("/v1/markets", headers={"If-None-Match": '"x"'})).status == 200
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET yes_bid = 1 WHERE ticker = 'KXOLD-25-A'")
    changed = await api.get("/v1/markets", headers={"If-None-Match": tag})
    assert changed.status == 200
    assert changed.headers["ETag"] != tag


@pytest.mark.parametrize(
    ("coding", "unpack"), [("gzip", gzip.decompress), ("zstd", codings.zstd.decompress)]
)
async def test_compressed_for_those_who_read_it(
    api: Client, universe: None, coding: str, unpack: Callable[[bytes], bytes]
) -> None:
    plain = await api.get("/v1/markets", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        headers = {"X-API-Key": api.key, "Accept-Encoding": f"br;q=1, {coding};q=0.5"}
        async with http.get(f"{api.base}/v1/markets", headers=headers) as reply:
            raw = await reply.read()
            assert reply.headers["Content-Encoding"] == coding
            assert reply.headers["Vary"] == "Accept, Accept-Encoding"
            assert reply.headers["ETag"] != plain.headers["ETag"]
        headers["Accept-Encoding"] = coding
        for path in ("/v1/export", "/v1/events/KXBTCD-26FEB03"):
            whole = await api.get(path, headers={"Accept-Encoding": "identity"})
            async with http.get(api.base + path, headers=headers) as reply:
                assert reply.status == 200
                assert reply.headers["Content-Encoding"] == coding
                assert "Accept-Encoding" in reply.headers["Vary"]
                assert unpack(await reply.read()) == whole.body
    assert unpack(raw) == plain.body
    refused = await api.get("/v1/markets", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers


async def test_head_is_get_without_a_body(api: Client, universe: None) -> None:
    reply = await api.ask("HEAD", "/v1/series", headers={"Accept-Encoding": "identity"})
    whole = await api.get("/v1/series", headers={"Accept-Encoding": "identity"})
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["ETag"] == whole.headers["ETag"]
    assert int(reply.headers["Content-Length"]) == len(whole.body)


async def test_a_reply_of_megabytes(api: Client, database: Database, universe: None) -> None:
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET rules_primary = repeat('ab', 1000000)")
    for encoding in ("identity", "gzip", "zstd"):
        reply = await api.get("/v1/markets", headers={"Accept-Encoding": encoding})
        assert reply.status == 200
        assert len(reply.json["markets"][0]["rules_primary"]) == 2_000_000


# Health and metrics


async def test_probes_need_no_key(api: Client) -> None:
    api.health.set("postgres", None)
    for path in ("/livez", "/readyz", "/metrics"):
        async with api.http.get(api.base + path) as reply:
            assert reply.status == 200
    api.health.set("postgres", "PostgreSQL does not answer")
    async with api.http.get(f"{api.base}/readyz") as reply:
        assert reply.status == 503
        assert "PostgreSQL does not answer" in await reply.text()


async def test_metrics_know_routes_and_never_tickers(api: Client, database: Database) -> None:
    def count(route: str, status: int) -> float:
        labels = {"route": route, "method": "GET", "status": str(status)}
        return REGISTRY.get_sample_value("ssmd_api_requests_total", labels) or 0.0

    async with database.connect() as connection:
        await insert(connection, "series", ticker="SECRETTICKER")
    work = REGISTRY.get_sample_value("ssmd_work_total") or 0
    before = count("/v1/series/{ticker}", 200)
    missing = count("/v1/series/{ticker}", 404)
    await api.ok("/v1/series/SECRETTICKER")
    await api.get("/v1/series/NOTICKER")
    await api.get("/no/such/path")
    assert count("/v1/series/{ticker}", 200) == before + 1
    assert count("/v1/series/{ticker}", 404) == missing + 1
    assert (REGISTRY.get_sample_value("ssmd_work_total") or 0) >= work + 2
    async with api.http.get(f"{api.base}/metrics") as reply:
        text = await reply.text()
    assert "SECRETTICKER" not in text
    assert "/no/such" not in text
