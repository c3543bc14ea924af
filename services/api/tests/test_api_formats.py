"""The forms of lists: which one is sent, and what its headers say. test_api_include_oracle has what
stands in them."""

import pytest
from api_testbed import Client, Serve
from api_universe import fill_more

from ssmd_api import formats, tabular
from ssmd_api.formats import Form
from ssmd_stack.database import Database

TICKER = "KXBTCD-26FEB03-T97500.99"
JSON, ARRAY = "application/json", "application/vnd.ssmd.array+json"
LINES, CSV = "application/x-ndjson; charset=utf-8", "text/csv; charset=utf-8"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

pytestmark = pytest.mark.usefixtures("universe")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        (BROWSER, JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("text/csv", CSV),
        ("TEXT/CSV; header=present", CSV),
        ("text/csv, */*", CSV),
        ("text/csv;q=0.5, application/json;q=0.4", CSV),
        ("text/csv;q=0.4, application/json;q=0.5", JSON),
        ("application/json, text/csv", JSON),
        ("application/x-ndjson", LINES),
        ("application/jsonl", "application/jsonl; charset=utf-8"),
        (ARRAY, ARRAY),
        ("*/*, application/json;q=0", ARRAY),
        ("text/html, application/json;q=0.001", JSON),
        ("text/html", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("x", None),
    ],
)
async def test_accept_chooses(api: Client, accept: str, expected: str | None) -> None:
    reply = await api.get("/v1/series", headers={"Accept": accept})
    if expected is None:
        assert reply.status == 406
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.json["type"] == "urn:ssmd:problem:not-acceptable"
        assert all(f"format={form}" in reply.json["detail"] for form in Form)
        assert (await api.get("/v1/series?format=csv", headers={"Accept": accept})).status == 200
        return
    assert (reply.status, reply.headers["Content-Type"]) == (200, expected)
    assert reply.headers["Vary"] == "Accept, Accept-Encoding"


async def test_format_is_stronger_than_accept(api: Client) -> None:
    for path in (
        "/v1/series",
        "/v1/events",
        "/v1/markets",
        "/v1/export",
        "/v1/markets/X/lifecycle",
    ):
        asked = path.replace("X", TICKER)
        for form, said in formats.CONTENT_TYPES.items():
            for method in ("GET", "HEAD"):
                accept = {"Accept": "text/html"}
                reply = await api.ask(method, f"{asked}?format={form}", headers=accept)
                assert (reply.status, reply.headers["Content-Type"]) == (200, said), path
                assert reply.headers["Vary"] == "Accept, Accept-Encoding"
        assert (await api.get(f"{asked}?format=parquet")).status == 400
        assert (await api.get(asked, headers={"Accept": "image/png"})).status == 406
    whole = await api.get("/v1/export", headers={"Accept": BROWSER})
    assert whole.headers["Content-Type"] == LINES
    assert whole.headers["Content-Disposition"].endswith('"markets.jsonl"')
    # One row has one form.
    assert (await api.get(f"/v1/markets/{TICKER}", headers={"Accept": "text/html"})).status == 200


async def test_headers_lead_on_where_there_is_no_envelope(api: Client) -> None:
    for form in ("array", "jsonl", "csv"):
        path = f"/v1/markets?sort=-volume&fields=ticker&limit=3&count=exact&format={form}"
        found, following = b"", path
        while following:
            reply = await api.get(following)
            assert reply.headers["X-Ssmd-Count"] == "7"
            found += reply.body
            link = reply.headers.get("Link", "")
            cursor = reply.headers.get("X-Ssmd-Cursor")
            assert (cursor is not None) is bool(link)
            assert cursor is None or cursor in link
            following = link.partition(">")[0][1:]
        for ticker in await api.names("/v1/markets"):
            assert found.count(f'"{ticker}"'.encode() if form != "csv" else ticker.encode()) == 1
    envelope = await api.get("/v1/markets?limit=3&count=exact")
    assert "X-Ssmd-Cursor" not in envelope.headers
    # A cursor goes on in any form.
    rest = await api.get(f"/v1/markets?format=csv&cursor={envelope.json['cursor']}&fields=ticker")
    assert rest.body.decode().split("\r\n")[1:-1] == (await api.names("/v1/markets"))[3:]


async def test_each_form_has_its_tag_and_is_remembered_apart(serve: Serve) -> None:
    async with serve(api_recent_seconds=5) as api:
        accepts = [JSON, ARRAY, "application/x-ndjson", "text/csv"]
        for path in ("/v1/markets", "/v1/events?include=markets"):
            first = [await api.get(path, headers={"Accept": accept}) for accept in accepts]
            assert len({reply.headers["ETag"] for reply in first}) == len(accepts)
            for accept, reply in zip(accepts, first, strict=True):
                again = await api.get(path, headers={"Accept": accept})
                assert (again.body, again.headers["Content-Type"]) == (
                    reply.body,
                    reply.headers["Content-Type"],
                )
                tag = {"If-None-Match": reply.headers["ETag"], "Accept": accept}
                assert (await api.get(path, headers=tag)).status == 304
                assert (await api.get(path, headers={**tag, "Accept": "text/html"})).status == 406


async def test_null_is_empty_and_an_empty_text_is_quoted(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET rules_primary = '' WHERE ticker = %s", (TICKER,)
        )
    fields = "rules_primary,yes_sub_title,yes_bid_dollars,volume,can_close_early,close_time"
    reply = await api.get(f"/v1/markets?ticker={TICKER}&format=csv&fields={fields}")
    assert reply.status == 200, reply.json
    header, line, end = reply.body.decode().split("\r\n")
    values = dict(zip(header.split(","), line.split(","), strict=True))
    assert end == ""
    assert values["rules_primary"] == '""'
    assert values["yes_sub_title"] == ""
    assert values["yes_bid_dollars"] == "0.450000"
    assert (values["volume"], values["can_close_early"]) == ("50", "true")
    one = await api.get("/v1/markets?series=KXOLD&format=csv&fields=yes_sub_title")
    # A line with nothing would be no line.
    assert one.body == b'yes_sub_title\r\n""\r\n'


async def test_formulas_are_kept_unless_they_are_to_be_neutral(
    api: Client, database: Database
) -> None:
    formula = '=HYPERLINK("https://x.test")'
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET title = %s, volume = -5", (formula,))
    path = "/v1/markets?limit=1&fields=title,volume&format=csv"
    for asked in (path, path.replace("markets", "export").replace("limit=1", "series=KXOLD")):
        assert b'\r\n"=HYPERLINK(' in (await api.get(asked)).body
        assert b"\r\n\"'=HYPERLINK(" in (await api.get(f"{asked}&formulas=neutral")).body
        assert b",-5\r\n" in (await api.get(f"{asked}&formulas=neutral")).body
    for wrong in ("", "&format=json"):
        reply = await api.get(f"/v1/markets?formulas=neutral{wrong}")
        assert reply.status == 400
        assert "format=csv" in reply.json["detail"]
    csv = await api.get("/v1/markets?formulas=neutral", headers={"Accept": "text/csv"})
    assert csv.status == 200
    assert tabular.neutral("-1.5") == "-1.5"


async def test_a_markets_life_comes_in_every_form(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await fill_more(connection, TICKER)
    path = f"/v1/markets/{TICKER}/lifecycle?limit=1"
    [step] = (await api.ok(path))["lifecycle"]
    assert (await api.get(f"{path}&format=array")).json == [step]
    header, line, _ = (await api.get(f"{path}&format=csv")).body.decode().split("\r\n")
    assert header.split(",") == list(step)
    assert line.startswith(f"{step['id']},{TICKER},")


async def test_a_history_and_a_search_come_in_every_form(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await connection.execute("UPDATE markets SET title = 'new' WHERE ticker = %s", (TICKER,))
    for path, name in (
        (f"/v1/markets/{TICKER}/history?", "history"),
        ("/v1/search?q=new&", "results"),
    ):
        rows = (await api.ok(path))[name]
        assert rows
        assert (await api.get(f"{path}format=array")).json == rows
        header, *lines, _ = (await api.get(f"{path}format=csv")).body.decode().split("\r\n")
        assert header.split(",") == list(rows[0])
        assert len(lines) == len(rows)
        assert (await api.get(path, headers={"Accept": "text/html"})).status == 406


async def test_an_empty_list_has_its_form(api: Client) -> None:
    expected = {"json": b'{"series":[],"cursor":null}', "array": b"[]", "jsonl": b""}
    for form, body in expected.items():
        assert (await api.get(f"/v1/series?series=NONE&format={form}")).body == body
        exported = await api.get(f"/v1/export?entity=series&series=NONE&format={form}")
        assert exported.body == body
