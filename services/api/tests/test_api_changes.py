"""The change stream over HTTP: order, filters, resuming, and a snapshot to begin with."""

import asyncio
import json
from typing import Any

import aiohttp
import psycopg
import pytest
from api_stream import envelope, listening, publish, take
from api_testbed import Client, Serve
from nats.js.client import JetStreamContext

from ssmd_api.changefilter import ChangeFilter, NothingFits
from ssmd_api.metrics import UNREADABLE as UNREADABLE_MESSAGES
from ssmd_api.snapshot import take as take_snapshot
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects
from ssmd_stream.visibility import Snapshot

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"
ROWS: dict[str, dict[str, Any]] = {
    "series": {"ticker": "KXBTCD"},
    "events": {"series_ticker": "KXBTCD", "event_ticker": "KXBTCD-26FEB03"},
    "markets": {
        "series_ticker": "KXBTCD",
        "event_ticker": "KXBTCD-26FEB03",
        "ticker": TICKER,
    },
    "series_fees": {"series_ticker": "KXBTCD"},
    "fees": {"tier": "default"},
    "market_lifecycle_events": {"event_type": "settled", "market_ticker": TICKER},
}
OTHER = {"series_ticker": "KXOLD", "event_ticker": "KXOLD-25", "ticker": "KXOLD-25-A"}


async def test_new_changes_arrive_in_order_with_their_ids(
    streaming: Client, js: JetStreamContext
) -> None:
    await publish(js, "series", {"ticker": "BEFORE"})
    async with listening(streaming) as events:
        for number in range(450):
            await publish(js, "series", {"ticker": f"S{number}"}, kind="series_updated")
        found = await take(events, 450)
    assert [json.loads(event["data"])["data"]["ticker"] for event in found] == [
        f"S{number}" for number in range(450)
    ]
    assert {event["event"] for event in found} == {"series_updated"}
    assert found[0]["id"] == "2@3:0/2:0"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["A", "S", "L", "B"]),
        ("&multivariate=exclude", ["A", "S", "L", "B"]),
        ("&multivariate=include", ["A", "S", "M", "L", "B"]),
        ("&multivariate=only", ["S", "M", "L", "B"]),
    ],
)
async def test_multivariate_changes_come_where_they_are_asked_for(
    streaming: Client, js: JetStreamContext, query: str, expected: list[str]
) -> None:
    """What is of other tables comes whatever the kinds."""
    places = {"event_ticker": "E", "series_ticker": "S"}
    await publish(js, "markets", {**places, "ticker": "A", "mve_collection_ticker": None})
    await publish(js, "series", {"ticker": "S"})
    await publish(js, "markets", {**places, "ticker": "M", "mve_collection_ticker": "S-R"})
    log = {"event_type": "settled", "market_ticker": "L", "ticker": "L"}
    await publish(js, "market_lifecycle_events", log)
    await publish(js, "series", {"ticker": "B"})
    # Both what the ring holds and what is read again for one who comes late.
    async with listening(streaming, f"?after=0{query}") as events:
        found = await take(events, len(expected))
    assert [json.loads(event["data"])["data"]["ticker"] for event in found] == expected


async def test_a_snapshot_has_multivariate_rows_where_they_are_asked_for(
    streaming: Client, database: Database, js: JetStreamContext
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO events (event_ticker, series_ticker, mve_collection_ticker)"
            " VALUES ('KXBTCD-S1', 'KXBTCD', 'KXMVEBTC-R');"
            " INSERT INTO markets (ticker, event_ticker, series_ticker, mve_collection_ticker)"
            " VALUES ('KXBTCD-S1-M', 'KXBTCD-S1', 'KXBTCD', 'KXMVEBTC-R')"
        )

    async def tickers(query: str) -> set[str]:
        reply = await streaming.get(f"/v1/snapshot?tables=series,events,markets{query}")
        assert reply.status == 200
        rows = [json.loads(line) for line in reply.body.splitlines()[1:-1]]
        return {row["data"].get("ticker") or row["data"]["event_ticker"] for row in rows}

    combined = {"KXBTCD-S1", "KXBTCD-S1-M"}
    everything, others = await tickers("&multivariate=include"), await tickers("")
    assert everything - others == combined
    only = await tickers("&multivariate=only")
    assert only & others == {ticker for ticker in others if "-" not in ticker}
    assert combined <= only
    market = await streaming.ok("/v1/markets/KXBTCD-S1-M")
    assert market["event"]["mve_collection_ticker"] == "KXMVEBTC-R"
    found = await streaming.ok("/v1/search?q=KXBTCD-S1-M")
    assert [each["ticker"] for each in found["results"]] == ["KXBTCD-S1-M"]
    event = await streaming.ok("/v1/events/KXBTCD-S1")
    assert [each["ticker"] for each in event["markets"]] == ["KXBTCD-S1-M"]
    collection = await streaming.ok("/v1/collections/KXMVEBTC-R")
    assert collection["associated_events"] == [{"ticker": "KXBTCD-26FEB03", "is_yes_only": False}]
    listed = await streaming.ok("/v1/collections?event=KXBTCD-26FEB03&fields=collection_ticker")
    assert listed["collections"] == [{"collection_ticker": "KXMVEBTC-R"}]
    assert (await streaming.ok("/v1/collections?series=KXNONE"))["collections"] == []
    assert (await streaming.get("/v1/collections/NONE")).status == 404


async def test_a_reader_resumes_where_it_stopped(streaming: Client, js: JetStreamContext) -> None:
    for number in range(6):
        await publish(js, "series", {"ticker": f"S{number}"})
    async with listening(streaming, "?after=2") as events:
        found = await take(events, 2)
    assert [event["id"].partition("@")[0] for event in found] == ["3", "4"]
    async with listening(streaming, **{"Last-Event-ID": found[-1]["id"]}) as events:
        assert [event["id"].partition("@")[0] for event in await take(events, 2)] == ["5", "6"]


async def test_a_reader_that_cannot_resume_is_told(streaming: Client, js: JetStreamContext) -> None:
    for number in range(6):
        await publish(js, "series", {"ticker": f"S{number}"})
    await js.purge_stream(subjects.STREAM, seq=4)
    for given in ("2@3:0/2:0", "5@3:0/999:0", "99@3:0/63:0"):
        reply = await streaming.get("/v1/changes", headers={"Last-Event-ID": given})
        assert reply.status == 410, given
        assert reply.json["type"] == "urn:ssmd:problem:stream-gone"
    assert (await streaming.get("/v1/changes?after=1")).status == 410
    assert (await streaming.get("/v1/changes?after=99")).status == 410
    bad = await streaming.get("/v1/changes", headers={"Last-Event-ID": "x"})
    assert bad.status == 400
    assert bad.json["errors"][0]["parameter"] == "Last-Event-ID"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("series=KXBTCD", {"series", "events", "markets", "series_fees"}),
        ("event=KXBTCD-26FEB03", {"events", "markets"}),
        (f"market={TICKER}", {"markets", "market_lifecycle_events"}),
        ("table=fees&table=series", {"fees", "series"}),
        ("table=markets&series=KXBTCD", {"markets"}),
        ("type=wanted", {"markets"}),
    ],
)
async def test_filters(
    streaming: Client, js: JetStreamContext, query: str, expected: set[str]
) -> None:
    async with listening(streaming, f"?{query}") as events:
        for table, row in ROWS.items():
            await publish(js, table, row, kind="wanted" if table == "markets" else "x")
        if "table" not in query and "type" not in query:
            await publish(js, "markets", OTHER)
        # What concerns a whole table is for everyone who reads that table.
        await js.publish("cdc.markets.truncate", envelope("truncated", None),
                         headers={"Ssmd-Type": "wanted"})  # fmt: skip
        last = {"truncated"} if "markets" in expected else set()
        found = await take(events, len(expected | last))
        found_tables = {json.loads(event["data"])["table"] for event in found}
    assert found_tables == expected | last


@pytest.mark.parametrize(
    "query",
    [
        "series=KXBTCD",
        "event=KXBTCD-26FEB03",
        f"market={TICKER}",
        "table=markets&series=_&event=KXBTCD-26FEB03",
        "table=markets&series=_",
        "",
    ],
)
async def test_a_row_that_could_not_be_read_concerns_who_might_have_wanted_it(
    streaming: Client, js: JetStreamContext, query: str
) -> None:
    """Its marker has no tokens: whose row it was nobody knows. It comes once."""
    error = "a row of markets could not be decoded: its bytes are in SECMASTER_DLQ"
    marker = subjects.unreadable_filter("markets").replace("*", "update")
    assert marker == "cdc.markets.update._._._"
    async with listening(streaming, f"?{query}") as events:
        for number in (1, 2):
            await js.publish(
                marker,
                envelope("markets", None, "market_updated", op="update", error=error),
                headers={"Nats-Msg-Id": f"3:0/A:{number}", "Ssmd-Type": "market_updated"},
            )
        found = await take(events, 2)
    assert [event["id"] for event in found] == ["1@3:0/A:1", "2@3:0/A:2"]
    assert {event["event"] for event in found} == {"market_updated"}
    assert json.loads(found[0]["data"])["error"] == error


async def test_how_far_the_readers_are_is_known(streaming: Client, js: JetStreamContext) -> None:
    feed = streaming.context.feed

    async def becomes(position: dict[str, int], lag_seconds: float | None) -> None:
        async with asyncio.timeout(180):
            while (feed.position(), feed.lag_seconds()) != (position, lag_seconds):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    await becomes({"readers": 0}, None)
    for number in range(3):
        await publish(js, "series", {"ticker": f"S{number}"})
    async with listening(streaming, "?after=0") as events, listening(streaming, "?table=fees"):
        await take(events, 3)
        # Nothing waits for either of them: they are not behind.
        await becomes({"readers": 2, "sequence": 3, "slowest_sequence": 3}, 0.0)
    await becomes({"readers": 0}, None)


UNREADABLE = {
    "nested 2,000 deep": envelope("markets", {"extra": 0}).replace(
        b'"extra": 0', b'"extra": ' + b"[" * 2000 + b"]" * 2000
    ),
    "not JSON": b"hello",
    "nothing": b"",
    "wrong shape": b'{"table":"markets"}',
    "a list": b"[]",
    "wrong type": envelope("markets", {}, lsn=7),
    "no LSN": envelope("markets", {}, lsn="x"),
    "another version": envelope("markets", {}, v=2),
    "invalid UTF-8": envelope("markets", {"title": "?"}).replace(b"?", b"\xff\xfe"),
    "cut": envelope("markets", {"title": "?"})[:-5],
}


@pytest.mark.parametrize("poison", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_message_that_cannot_be_read_is_told_and_passed_over(
    streaming: Client,
    js: JetStreamContext,
    poison: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counted = UNREADABLE_MESSAGES._value.get()
    subject = subjects.subject("markets", "update", ROWS["markets"])
    async with listening(streaming) as events, listening(streaming, "?type=wanted") as others:
        await publish(js, "markets", {"ticker": "BEFORE"}, kind="wanted")
        # Whoever may publish may publish without the headers of a change, or with odd ones.
        await js.publish(subject, poison)
        await js.publish(subject, poison, headers={"Nats-Msg-Id": "a b", "Ssmd-Type": "not: this"})
        await publish(js, "markets", {"ticker": "AFTER"}, kind="wanted")
        for reader in (events, others):
            before, told, again, after = await take(reader, 4)
            assert json.loads(before["data"])["data"] == {"ticker": "BEFORE"}
            assert json.loads(after["data"])["data"] == {"ticker": "AFTER"}
            assert (told["event"], told["id"]) == ("unreadable", "2@-")
            assert (again["event"], again["id"]) == ("unreadable", "3@-")
            document = json.loads(told["data"])
            assert (document["sequence"], document["subject"]) == (2, subject)
            assert document["reason"]
    # Behind it, without it being told again.
    async with listening(streaming, **{"Last-Event-ID": again["id"]}) as events:
        (next_one,) = await take(events, 1)
    assert next_one["id"] == after["id"]
    # Two readers and one that resumed, and yet each message is counted and named once.
    assert UNREADABLE_MESSAGES._value.get() - counted == 2
    named = [line for line in capsys.readouterr().out.splitlines() if "passed over" in line]
    assert len(named) == 2
    assert subject in named[0]
    reason = streaming.context.unreadable.degraded(1)
    assert reason is not None
    assert "message 3" in reason
    assert streaming.context.unreadable.degraded(4) is None


async def test_a_message_with_odd_headers_or_line_ends_is_one_event(
    streaming: Client, js: JetStreamContext
) -> None:
    """Nothing that a stranger publishes becomes a field of the event, or a second event."""
    content = envelope("series", {"ticker": "A"}).replace(b", ", b",\r\n \r")
    async with listening(streaming) as events:
        await js.publish(
            "cdc.series.update.A",
            content,
            headers={"Nats-Msg-Id": "é\x00 x", "Ssmd-Type": "gone: \rdata"},
        )
        await publish(js, "series", {"ticker": "B"})
        found = await take(events, 2)
    assert [json.loads(event["data"])["data"]["ticker"] for event in found] == ["A", "B"]
    assert found[0]["event"] == "change"
    assert found[0]["id"] == "1@-"


def test_subjects_are_encoded_and_contradictions_refused() -> None:
    assert ChangeFilter(market=TICKER, tables=["markets"]).subjects()[0] == (
        "cdc.markets.*.*.*.KXBTCD-26FEB03-T97500%2E99"
    )
    assert ChangeFilter(tables=["fees"]).subjects() == ["cdc.fees.>"]
    with pytest.raises(NothingFits):
        ChangeFilter(tables=["fees"], series="KXBTCD").subjects()


async def test_a_filter_that_fits_no_table_is_400(streaming: Client, js: JetStreamContext) -> None:
    reply = await streaming.get("/v1/changes?table=fees&series=X")
    assert reply.status == 400
    assert reply.json["errors"][0]["parameter"] == "table"


async def test_readers_are_limited_and_their_places_freed(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext
) -> None:
    async with serve(nats_url=nats_server.url, api_streams=1) as api:
        async with listening(api):
            assert (await api.get("/v1/changes")).status == 429
        async with asyncio.timeout(180):
            while True:
                async with api.http.get(
                    f"{api.base}/v1/changes", headers={"X-API-Key": api.key}
                ) as reply:
                    if reply.status == 200:
                        break
                await asyncio.sleep(0.05)


async def test_streams_end_when_the_service_stops(streaming: Client, js: JetStreamContext) -> None:
    async with listening(streaming) as events:
        streaming.context.stopping.set()
        async with asyncio.timeout(180):
            with pytest.raises(StopAsyncIteration):
                await anext(events)


async def test_without_nats_it_is_503_and_all_else_works(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext
) -> None:
    async with serve(nats_url=nats_server.url) as api:
        async with listening(api) as events:
            await nats_server.kill()
            async with asyncio.timeout(180):
                with pytest.raises((StopAsyncIteration, aiohttp.ClientError)):
                    await anext(events)
        for path in ("/v1/changes", "/v1/snapshot"):
            reply = await api.get(path)
            assert reply.status == 503
            assert reply.headers["Retry-After"]
        assert (await api.get("/v1/markets")).status == 200


async def snapshot(api: Client, query: str = "") -> tuple[dict[str, Any], list[Any], Any]:
    reply = await api.get(f"/v1/snapshot{query}")
    assert reply.status == 200
    head, *rows, end = [json.loads(line) for line in reply.body.splitlines()]
    assert end == {"end": True, "rows": len(rows)}
    return head, rows, end


async def test_a_snapshot_is_the_tables_and_where_to_go_on(
    streaming: Client, js: JetStreamContext, database: Database
) -> None:
    for number in range(3):
        await publish(js, "series", {"ticker": f"S{number}"})
    async with database.connect() as connection:
        before = await (await connection.execute("SELECT pg_current_xact_id()::text")).fetchone()
        head, rows, _ = await snapshot(streaming)
        after = await (await connection.execute("SELECT pg_current_xact_id()::text")).fetchone()
    assert before
    assert after
    assert (head["stream"], head["sequence"]) == (subjects.STREAM, 3)
    taken = Snapshot.parse(head["snapshot"])
    assert taken.sees(int(before[0]))
    assert not taken.sees(int(after[0]))
    counted = {table: sum(row["table"] == table for row in rows) for table in head["tables"]}
    assert counted == {"series": 3, "events": 4, "markets": 8, "series_fees": 0, "fees": 1}
    shown = next(row["data"] for row in rows if row["data"].get("ticker") == TICKER)
    single = await streaming.ok(f"/v1/markets/{TICKER}")
    assert shown == {name: value for name, value in single.items() if name in shown}


async def test_a_snapshot_of_some_tables_and_one_series(
    streaming: Client, js: JetStreamContext
) -> None:
    head, rows, _ = await snapshot(streaming, "?tables=series,markets&series=KXBTCD")
    assert head["tables"] == ["series", "markets"]
    assert {row["data"].get("series_ticker", "KXBTCD") for row in rows} == {"KXBTCD"}
    assert len(rows) == 6
    head, rows, _ = await snapshot(streaming, "?event=KXBTCD-26FEB03")
    assert head["tables"] == ["events", "markets"]
    assert {row["data"]["event_ticker"] for row in rows} == {"KXBTCD-26FEB03"}
    for query in (
        "?tables=api_keys",
        "?tables=",
        "?tables=markets,,series",
        "?tables=fees&series=X",
    ):
        assert (await streaming.get(f"/v1/snapshot{query}")).status == 400


async def test_a_snapshot_has_the_log_only_when_asked(
    streaming: Client, js: JetStreamContext, database: Database
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO market_lifecycle_events (market_ticker, event_ticker, event_type,"
            " metadata, received_at, dedupe_key) VALUES (%s, 'E', 'settled', '{}', now(), 'a'),"
            " (NULL, %s, 'event', '{}', now(), 'b'),"
            " ('OTHER', 'E', 'closed', '{}', now(), 'c')",
            (TICKER, TICKER),
        )
    assert "market_lifecycle_events" not in (await snapshot(streaming))[0]["tables"]
    _, rows, _ = await snapshot(streaming, "?tables=market_lifecycle_events")
    assert [row["data"]["dedupe_key"] for row in rows] == ["a", "b", "c"]
    _, rows, _ = await snapshot(streaming, f"?tables=market_lifecycle_events&market={TICKER}")
    assert [row["data"]["dedupe_key"] for row in rows] == ["a", "b"]


async def test_no_id_that_a_snapshot_has_seen_is_given_again_after_a_crash(
    serve: Serve, private_postgres: Any, nats_server: NatsServer, js: JetStreamContext
) -> None:
    """A change under such an id would be taken for one that the snapshot holds."""
    url = private_postgres.url
    async with serve(nats_url=nats_server.url, database_url=url) as api:
        service = api.context
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for _ in range(200):
                await connection.execute("SELECT pg_current_xact_id()")
        async with take_snapshot(service.database, service.feed, wait_seconds=60) as taken:
            pass
        await private_postgres.kill()
        await private_postgres.start()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute("SELECT pg_current_xact_id()::text")).fetchone()
    assert row
    assert not Snapshot.parse(taken.snapshot).sees(int(row[0]))


async def test_an_older_transaction_makes_the_snapshot_join_at_the_first_message(
    streaming: Client, js: JetStreamContext, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in the stream already and yet be invisible: comparing places would lose it."""
    monkeypatch.setattr("ssmd_api.routes.snapshot.WAIT_SECONDS", 0.2)
    for number in range(3):
        await publish(js, "series", {"ticker": f"S{number}"})
    async with database.connect() as connection, connection.transaction():
        await connection.execute("UPDATE series SET title = 'older' WHERE ticker = 'KXOLD'")
        row = await (await connection.execute("SELECT pg_current_xact_id()::text")).fetchone()
        head, _, _ = await snapshot(streaming)
    assert row
    assert head["sequence"] == 0
    assert not Snapshot.parse(head["snapshot"]).sees(int(row[0]))
