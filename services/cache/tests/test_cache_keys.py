"""Tickers with colons and percent signs: each row has a key of its own."""

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ssmd_common.keys import Keys, from_token, token

KINDS: dict[str, int] = {
    "series": 1,
    "event": 2,
    "market": 3,
    "fee": 1,
    "event_markets": 1,
    "markets_by_category": 1,
    "uncategorised": 1,
}
FIXED = ("markets", "events", "expiring", "last_sync", "position")
OWN = ("markets", "events", "series", "fees", "expiries", "rebuild_requests")
# Whatever could be taken for a part of another name, and anything else.
TICKERS = st.one_of(
    st.text(alphabet=":%25 3Aa", max_size=6),
    st.sampled_from(["", "markets", "events", "_cache", "by_category", "expiring", "secmaster"]),
    st.sampled_from(["markets:expiring", "by_category:", "_cache:markets", "position", "fee:"]),
    st.text(max_size=5),
)
NAMES = st.one_of(
    st.sampled_from([(kind,) for kind in FIXED]),
    st.sampled_from([("own", name) for name in OWN]),
    st.sampled_from(sorted(KINDS)).flatmap(
        lambda kind: st.tuples(st.just(kind), *[TICKERS] * KINDS[kind])
    ),
)


def named(keys: Keys, name: tuple[str, ...]) -> str:
    kind, *tickers = name
    found = getattr(keys, kind)
    return str(found(*tickers) if tickers else found)


# The first text of all takes hypothesis seconds where the machine is busy.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["", "p:", "secmaster:", "a%3A:"]), NAMES, NAMES)
@example("", ("series", "ZCA:ZCB"), ("event", "ZCA", "ZCB"))
@example("", ("event", "A", "B:C"), ("market", "A", "B", "C"))
@example("", ("event", "A%3AB", "C"), ("event", "A:B", "C"))
@example("", ("event", "", ""), ("series", ":"))
@example("", ("uncategorised", ""), ("own", "uncategorised"))
def test_no_two_names_are_one_key(
    prefix: str, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    keys = Keys(prefix)
    assert (named(keys, one) == named(keys, other)) is (one == other)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TICKERS)
def test_a_token_tells_its_ticker(ticker: str) -> None:
    assert from_token(token(ticker)) == ticker
    assert ":" not in token(ticker)


def test_keys_of_real_tickers_are_what_they_were() -> None:
    found = Keys("p:").market("KXBTCD", "KXBTCD-26FEB03", "KXBTCD-26FEB03-T97500.99")
    assert found == "p:secmaster:series:KXBTCD:KXBTCD-26FEB03:KXBTCD-26FEB03-T97500.99"


SERIES = "INSERT INTO series (ticker, category) VALUES"
EVENT = "INSERT INTO events (event_ticker, series_ticker, status) VALUES"
MARKET = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time, updated_at)"
    " VALUES"
)
FEE = "INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from) VALUES"
COLONS = (
    f"{SERIES} ('A', 'C:1'), ('A:B', 'C%3A1'), ('A%3AB', NULL), ('', 'C')",
    (
        f"{EVENT} ('B', 'A', 'open'), ('B:C', 'A', 'open'), ('C', 'A:B', 'open'),"
        " (':', '', 'open'), ('%', 'A%3AB', 'open')"
    ),
    (
        f"{MARKET} ('C', 'B', 'A', 'active', now() + interval '1 day', now()),"
        " ('D', 'B:C', 'A', 'active', now() + interval '1 day', now()),"
        " ('::', 'C', 'A:B', 'active', NULL, now()), ('', ':', '', 'active', NULL, now()),"
        " ('%3A', '%', 'A%3AB', 'closed', NULL, now())"
    ),
    f"{FEE} ('A', 'q', 1, now()), ('A:B', 'q', 2, now()), ('', 'q', 3, now())",
)


async def test_each_of_them_is_followed_warmed_verified_and_swept(world: Any) -> None:
    async with world.cache() as cache:
        await cache.ready()
        # From the stream, then changed: another category, another event, an end, a deletion.
        await world.commit(*COLONS)
        await world.assert_right()
        assert await world.redis.exists("secmaster:series:A%3AB", "secmaster:series:A:B") == 2
        await world.commit(
            "UPDATE series SET category = 'D:2' WHERE ticker = 'A:B'",
            "UPDATE markets SET event_ticker = 'B:C' WHERE ticker = 'C'",
            "UPDATE series_fees SET fee_multiplier = 9 WHERE series_ticker = 'A:B'",
        )
        await world.assert_right()
        await world.commit(
            "DELETE FROM markets WHERE ticker = 'D'",
            "UPDATE markets SET status = 'settled', close_time = now() - interval '23 hours 59"
            " minutes 59.5 seconds' WHERE ticker = '::'",
            "DELETE FROM series_fees WHERE series_ticker = ''",
        )
        await world.assert_right()
    await world.redis.flushall()
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()


async def test_keys_of_the_spelling_before_are_gone_after_an_upgrade(world: Any) -> None:
    await world.commit(*COLONS)
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()
    # What the version before left for the market D of the event B:C, and its picture's version.
    text = await world.redis.get("secmaster:position")
    await world.redis.set("secmaster:position", text.replace(b'"v":2', b'"v":1'))
    old = "secmaster:series:A:B:C:D"
    await world.redis.set(old, b'{"ticker":"D"}')
    await world.redis.sadd("secmaster:event_markets:B:C", "D")
    await world.redis.sadd("secmaster:markets:by_category:C:1", "D", "C")
    await world.redis.sadd("secmaster:_cache:uncategorised:A:B", "C")
    await world.redis.set("secmaster:fee:A:B", b"[]")
    await world.redis.hset("secmaster:markets", "D", old)
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()
        assert not await world.redis.exists("secmaster:_cache:uncategorised:A:B")
