"""The whole service, as a process, against a simulated exchange and a real PostgreSQL."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode
from ssmd_common.settings import load
from ssmd_lifecycle.settings import LifecycleSettings
from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database

Connection = psycopg.AsyncConnection[Any]
StartService = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[Any]]


async def column(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in await (await connection.execute(query, parameters)).fetchall()]


async def market(connection: Connection, ticker: str) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM markets WHERE ticker = %s", (ticker,))
        return await cursor.fetchone() or {}


async def kinds(connection: Connection, ticker: str) -> list[str]:
    return await column(
        connection,
        "SELECT event_type FROM market_lifecycle_events WHERE market_ticker = %s ORDER BY id",
        ticker,
    )


async def test_markets_live_from_creation_to_settlement(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim)
        await service.ready()
        order = ScriptedMarket(open_in=2, close_in=5, determine_in=7, settle_in=8, count=3)
        tickers = [made.ticker for made in sim.control.script(order)]

        async def settled() -> bool:
            query = "SELECT status FROM markets WHERE ticker = ANY(%s)"
            return await column(connection, query, tickers) == ["settled"] * 3

        await eventually("three settled markets", settled)
        lived = ["created", "opened", "closed", "determined", "settled"]

        async def told() -> bool:
            return [await kinds(connection, ticker) for ticker in tickers] == [lived] * 3

        # REST may say that one is settled before the message is taken.
        await eventually("a row for each step", told)
        for ticker in tickers:
            row = await market(connection, ticker)
            assert (row["result"], str(row["settlement_value_dollars"])) == ("yes", "1.000000")

        # REST completes what the message leaves open.
        async def completed() -> bool:
            rows = [await market(connection, ticker) for ticker in tickers]
            return all(
                row["market_type"] == "binary" and row["latest_expiration_time"] for row in rows
            )

        await eventually("all that REST knows", completed)

        async def parents() -> bool:
            statuses = "SELECT status FROM events WHERE title LIKE '%%KXACC%%'"
            titles = "SELECT title FROM series WHERE ticker = 'KXACCEPT'"
            found = (await column(connection, statuses), await column(connection, titles))
            return found == (["settled"], ["KXACCEPT on demand"])

        await eventually("its event and its series", parents)
        for name in (
            "ssmd_lifecycle_messages_total",
            "ssmd_lifecycle_receive_to_commit_seconds_count",
            "ssmd_lifecycle_sent_to_commit_seconds_count",
            "ssmd_lifecycle_transitions_total",
            "ssmd_lifecycle_clock_late_seconds_count",
            "ssmd_lifecycle_connected",
            "ssmd_work_total",
            "ssmd_leader",
        ):
            assert await service.metric(name) > 0, name
        assert await service.kill(signal.SIGTERM) == ExitCode.OK


async def test_without_a_key_the_clock_and_rest_go_on(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim, key=False, LIFECYCLE_POLL_SECONDS="0.5")
        await service.ready()

        async def has(ticker: str, *statuses: str) -> str:
            async def has_one() -> str | None:
                status = (await market(connection, ticker)).get("status")
                return status if status in statuses else None

            found: str = await eventually(f"{ticker} is one of {statuses}", has_one)
            return found

        # A slow machine finds a market late, and then the clock does not open it.
        for open_in in (3, 15, 60):
            order = ScriptedMarket(open_in=open_in, close_in=3600)
            [made] = sim.control.script(order)
            if await has(made.ticker, "open", "active") == "open":
                break
        await has(made.ticker, "active")
        sim.exchange.move_close(made, sim.clock(), sim.clock())
        await has(made.ticker, "closed")
        sim.exchange.determine(made, "yes", 0, sim.clock())
        await has(made.ticker, "settled")

        async def told() -> bool:
            lived = ["created", "opened", "closed", "determined", "settled"]
            return await kinds(connection, made.ticker) == lived

        await eventually("a row for each step", told)
        assert await service.metric("ssmd_lifecycle_clock_late_seconds_count") > 0
        assert service.logs().count("no exchange key is configured") == 1
        assert not sim.hub.connections


async def test_messages_that_a_lost_connection_hid_are_repaired(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim)
        await service.ready()
        [made] = sim.control.script(ScriptedMarket(close_in=600))

        async def known() -> bool:
            row = await market(connection, made.ticker)
            # Once completed over REST, nothing but the repair asks for it.
            return row.get("status") == "active" and bool(row["market_type"])

        await eventually("an active market", known)
        # The handshake answers, REST does not: connected, and not ready.
        sim.faults.start(Fault(kind="error", path=".*markets.*"))
        sim.hub.disconnect()
        while sim.hub.connections:  # noqa: ASYNC110 - nothing tells it, and it must not be late
            await asyncio.sleep(0)
        sim.exchange.determine(made, "no", 0, sim.clock())
        sim.exchange.advance(sim.clock())

        async def says_why() -> bool:
            status, body = await service.get("/readyz")
            return status == 503 and "gap" in json.loads(body)["reasons"]

        await eventually("not ready while unrepaired", says_why)
        assert (await market(connection, made.ticker))["status"] == "active"
        sim.faults.clear()
        await service.ready()
        row = await market(connection, made.ticker)
        assert (row["status"], row["result"], row["observed_via"]) == ("settled", "no", "rest")

        async def closed() -> bool:
            repaired = (
                "SELECT reason FROM lifecycle_gaps WHERE repaired_at > now() - '1 h'::interval"
            )
            reasons = await column(connection, f"{repaired} AND changed > 0")
            # On a Thursday morning in New York it is the exchange's maintenance.
            return not {"closed", "maintenance"}.isdisjoint(reasons)

        await eventually("the gap is closed", closed)
        # No message told of it, and yet it has its rows.
        lived = ["created", "opened", "closed", "determined", "settled"]
        assert await kinds(connection, made.ticker) == lived
        query = "SELECT metadata ->> 'source' FROM market_lifecycle_events WHERE market_ticker = %s"
        sources = await column(connection, query, made.ticker)
        assert sources == [None, "clock", "rest", "rest", "rest"]
        # Other markets may have made a step just before the service first listened.
        query = "SELECT count(*) FROM market_lifecycle_events WHERE metadata ->> 'source' = 'rest'"
        found = await column(connection, query)
        assert [await service.metric("ssmd_lifecycle_found_total")] == found


async def test_while_a_gap_is_being_read_the_service_is_not_ready(
    start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim)
        await service.ready()
        sim.faults.start(Fault(kind="latency", seconds=600))
        sim.hub.disconnect()

        async def subscribed_again_and_says_why() -> bool:
            _, body = await service.get("/readyz")
            reasons = json.loads(body)["reasons"]
            return reasons.keys() == {"gap"} and "may be missing" in reasons["gap"]

        await eventually("not ready although subscribed", subscribed_again_and_says_why)
        assert await service.kill(signal.SIGTERM) == ExitCode.OK


async def test_a_market_that_rest_does_not_know_yet_is_made_and_completed(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim)
        await service.ready()
        asked = sim.faults.start(Fault(kind="latency", path=".*markets.*", seconds=0))
        [made] = sim.control.script(ScriptedMarket(open_in=900, close_in=999, strike=97500.99))
        del sim.universe.markets[made.ticker]

        async def asked_in_vain() -> bool:
            return asked.hits > 0 and bool(await market(connection, made.ticker))

        await eventually("made from its message, REST asked", asked_in_vain)
        row = await market(connection, made.ticker)
        assert (row["status"], row["title"]) == ("open", f"{made.event.title} Above 97501")
        assert (str(row["floor_strike"]), row["market_type"]) == ("97500.99", None)
        sim.universe.markets[made.ticker] = made

        async def completed() -> bool:
            return bool((await market(connection, made.ticker))["market_type"])

        await eventually("completed over REST", completed)


async def test_a_message_of_an_unknown_market_brings_the_market(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    """It was created while nobody listened, and its first message comes before any sync."""
    async with Simulator("tiny") as sim:
        [made] = sim.control.script(ScriptedMarket(close_in=600))
        made.life = type(made.life)(
            created=made.life.created - 5000, open=made.life.open - 4000, close=made.life.close
        )
        made.updated = None
        made.event.updated = sim.clock() - 5000
        made.forget()
        service = await start_service(sim)
        await service.ready()
        assert await market(connection, made.ticker) == {}
        sim.exchange.determine(made, "yes", 3600, sim.clock())

        async def determined() -> bool:
            return (await market(connection, made.ticker)).get("result") == "yes"

        await eventually("the market with its result", determined)
        row = await market(connection, made.ticker)
        assert (row["status"], row["exchange_status"]) == ("closed", "determined")
        assert row["series_ticker"] == "KXACCEPT"


async def test_two_replicas_one_leads_and_nothing_is_lost_when_it_dies(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        first = await start_service(sim)
        await first.ready()
        second = await start_service(sim)

        async def stands_by() -> bool:
            status, body = await second.get("/readyz")
            return status == 200 and "stands by" in body and "not subscribed" not in body

        await eventually("a warm standby", stands_by)
        assert len(sim.hub.connections) == 2
        [before] = sim.control.script(ScriptedMarket(open_in=1, close_in=600))

        async def opened() -> bool:
            return (await market(connection, before.ticker)).get("status") == "active"

        await eventually("opened by the first", opened)
        await first.kill()
        [during] = sim.control.script(ScriptedMarket(series="KXDURING", open_in=1, close_in=600))
        sim.exchange.pause(before, sim.clock())
        await second.ready()

        async def taken_over() -> bool:
            one, two = (
                await market(connection, before.ticker),
                await market(connection, during.ticker),
            )
            return one["exchange_status"] == "inactive" and two.get("status") == "active"

        await eventually("all known to the second", taken_over)

        async def told() -> bool:
            lived = [await kinds(connection, one.ticker) for one in (before, during)]
            return lived == [["created", "opened", "deactivated"], ["created", "opened"]]

        await eventually("a row for each step", told)


async def test_the_series_filter_leaves_out_and_is_read_again(
    connection: Connection, start_service: StartService, eventually: Eventually, tmp_path: Path
) -> None:
    path = tmp_path / "filter.yaml"
    path.write_text("exclude: {series: [KXNOISE]}")
    async with Simulator("tiny") as sim:
        service = await start_service(sim, LIFECYCLE_FILTER_PATH=str(path))
        await service.ready()
        [noise] = sim.control.script(ScriptedMarket(series="KXNOISE", open_in=900, close_in=999))
        [signal_] = sim.control.script(ScriptedMarket(series="KXSIGNAL", open_in=900, close_in=999))

        async def known() -> bool:
            return bool(await market(connection, signal_.ticker))

        await eventually("the followed series", known)
        sim.exchange.pause(noise, sim.clock())
        sim.exchange.pause(signal_, sim.clock())

        async def paused() -> bool:
            return await kinds(connection, signal_.ticker) == ["created", "deactivated"]

        await eventually("the next message", paused)
        assert await kinds(connection, noise.ticker) == []
        assert await service.metric("ssmd_lifecycle_filtered_total") == 3
        path.write_text("exclude: {series: [KXSIGNAL]}")

        async def read_again() -> bool:
            return "series filter read again" in service.logs()

        await eventually("the filter is read again", read_again)
        [now] = sim.control.script(ScriptedMarket(series="KXNOISE", open_in=900, close_in=999))

        async def followed() -> bool:
            return bool(await kinds(connection, now.ticker))

        await eventually("now it is followed", followed)


@pytest.mark.parametrize("followed", [False, True])
async def test_the_multivariate_channel_only_keeps_its_messages(
    connection: Connection, start_service: StartService, eventually: Eventually, followed: bool
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim, LIFECYCLE_MULTIVARIATE=str(followed))
        await service.ready()
        combined = ScriptedMarket(series="KXMVE", multivariate=True, open_in=900, close_in=999)
        [kept] = sim.control.script(combined)
        [applied] = sim.control.script(ScriptedMarket(open_in=900, close_in=999))

        async def known() -> bool:
            return bool(await market(connection, applied.ticker))

        await eventually("the market that came after", known)
        assert await kinds(connection, kept.ticker) == (["created"] if followed else [])
        assert await market(connection, kept.ticker) == {}
        messages = await column(
            connection,
            "SELECT event_type FROM market_lifecycle_events WHERE event_ticker = %s",
            kept.event.ticker,
        )
        assert len(messages) == (2 if followed else 0)
        # Others may have rolled over meanwhile, and be known from the first reading.
        ours = "SELECT event_ticker FROM events WHERE event_ticker = ANY(%s)"
        both = [kept.event.ticker, applied.event.ticker]
        assert await column(connection, ours, both) == [applied.event.ticker]


async def test_garbage_on_the_socket_loses_nothing(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim)
        await service.ready()
        sim.faults.start(Fault(kind="garbage_frame"))
        [made] = sim.control.script(ScriptedMarket(open_in=1, close_in=600))

        async def opened() -> bool:
            return await kinds(connection, made.ticker) == ["created", "opened"]

        await eventually("created and opened", opened)
        await service.ready()

        async def kept() -> bool:
            query = "SELECT metadata ->> 'unreadable' FROM market_lifecycle_events"
            found = await column(connection, f"{query} WHERE event_type = 'unreadable'")
            return set(found) == {"{not json"}

        await eventually("the garbage itself is kept", kept)


async def test_rows_older_than_the_retention_go(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    await connection.execute(
        "INSERT INTO market_lifecycle_events (event_type, metadata, received_at, dedupe_key)"
        " SELECT 'settled', '{}', now() - n * interval '1 day', n::text"
        " FROM generate_series(1, 40) n, generate_series(1, 1)"
    )
    async with Simulator("tiny") as sim:
        service = await start_service(sim, LIFECYCLE_RETENTION_DAYS="30")
        await service.ready()

        async def expired() -> bool:
            query = "SELECT count(*) FROM market_lifecycle_events WHERE event_type = 'settled'"
            return await column(connection, query) == [29]

        await eventually("thirty days are left", expired)


async def test_a_database_that_goes_away_ends_the_service_with_a_sentence(
    private_postgres: Any, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim, DATABASE_URL=private_postgres.url)
        await service.ready()
        sim.control.script(ScriptedMarket(close_in=600))
        await private_postgres.stop()
        code = await asyncio.wait_for(service.process.wait(), 180)
        assert code in (ExitCode.UPSTREAM, ExitCode.FAILED)
        last = json.loads(service.logs().splitlines()[-1])
        assert last["event"] == "service ended", service.logs()
        await private_postgres.start()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({}, "KALSHI_PRIVATE_KEY_PATH: a key has an id and a file"),
        ({"KALSHI_PRIVATE_KEY_PATH": "/nowhere/none.pem"}, "there is no private key"),
    ],
)
def test_wrong_settings_are_told(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], says: str
) -> None:
    good = {"DATABASE_URL": "postgresql://u@h/d", "KALSHI_API_KEY": "k"}
    for name, value in {**good, **wrong}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=says):
        load(LifecycleSettings)


async def test_a_key_that_the_exchange_does_not_know_ends_the_service(
    start_service: StartService, database: Database
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    keys = {"other": Ed25519PrivateKey.generate().public_key()}
    async with Simulator("tiny", keys=keys) as sim:
        service = await start_service(sim)
        code = await asyncio.wait_for(service.process.wait(), 180)
        assert code != ExitCode.OK
        assert "KALSHI_API_KEY" in service.logs().splitlines()[-1]
