"""Search: what is found, in which order."""

import pytest
from api_testbed import Client

from ssmd_api import search
from ssmd_stack.database import Database

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"


async def find(api: Client, query: str) -> list[tuple[str, str]]:
    found = (await api.ok(f"/v1/search?{query}"))["results"]
    assert [row["rank"] for row in found] == sorted((row["rank"] for row in found), reverse=True)
    return [(row["kind"], row["ticker"]) for row in found]


async def test_the_very_ticker_comes_first(api: Client) -> None:
    assert (await find(api, f"q={TICKER}"))[0] == ("market", TICKER)
    assert (await find(api, f"q={TICKER.lower()}"))[0] == ("market", TICKER)
    found = await find(api, "q=kxbtcd")
    assert found[0] == ("series", "KXBTCD")
    assert ("event", "KXBTCD-26FEB03") in found
    assert ("market", TICKER) in found


async def test_all_words_are_needed(api: Client) -> None:
    assert await find(api, "q=basketball+pro") == [("series", "KXNBAGAME")]
    assert {ticker for _, ticker in await find(api, "q=houpit+win")} == {
        "KXNBAGAME-26FEB03HOUPIT-HOU",
        "KXNBAGAME-26FEB03HOUPIT-PIT",
    }


async def test_what_is_misspelled_is_found_all_the_same(api: Client) -> None:
    assert (await find(api, "q=basketbal+prro"))[0] == ("series", "KXNBAGAME")
    assert (await find(api, "q=26feb03houpitt&kind=market"))[0][0] == "market"
    assert await find(api, "q=zzzzzzzzqqqq") == []


async def test_open_stands_before_settled_and_deleted_is_not_found(api: Client) -> None:
    found = [ticker for kind, ticker in await find(api, "q=kxbtcd+win&kind=market")]
    assert found.index(TICKER) < found.index("KXBTCD-26FEB02-T90000")
    assert "KXBTCD-26FEB03-GONE" not in found


async def test_kinds_and_limit(api: Client) -> None:
    assert {kind for kind, _ in await find(api, "q=kx&kind=event")} == {"event"}
    assert {kind for kind, _ in await find(api, "q=kx&kind=event&kind=series")} == {
        "event",
        "series",
    }
    assert len(await find(api, "q=kx&limit=2")) == 2


async def test_patterns_are_literal(api: Client) -> None:
    assert await find(api, "q=100%25_g") == [("series", "KXNBAGAME")]
    assert await find(api, "q=k%25d") == []


async def test_the_very_ticker_is_found_among_many(api: Client, database: Database) -> None:
    """However many others fit, and whatever the limit on candidates leaves out."""
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, title)"
            " SELECT 'KXOLD-25-A' || n, 'KXOLD-25', 'KXOLD', 'x' FROM generate_series(1, %s) n",
            (search._CANDIDATES + 500,),
        )
    assert (await find(api, "q=KXOLD-25-A&limit=5"))[0] == ("market", "KXOLD-25-A")
