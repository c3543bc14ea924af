"""The pure parts: parameters, cursors, rate limits, rows, fees, what a sync run covers."""

import contextlib
import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import MultiDict

from ssmd_api import codings, cursors, feeschedule, rows
from ssmd_api.auth import presented
from ssmd_api.cursors import Cursor, MalformedCursor
from ssmd_api.freshness import Run, age_seconds, covers
from ssmd_api.parameters import Parameters, moment
from ssmd_api.problems import Problem
from ssmd_api.ratelimit import RateLimiter
from ssmd_common import apikeys, tables
from ssmd_common.columns import Kind
from ssmd_common.times import spelled_moment

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)
MOMENTS = st.datetimes(timezones=st.just(UTC))
TICKERS = st.text(string.ascii_uppercase + string.digits + ".-", min_size=1, max_size=55)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOW + timedelta(hours=24)),
        ("0s", NOW),
        ("90m", NOW + timedelta(minutes=90)),
        ("2w", NOW + timedelta(weeks=2)),
        ("2026-02-03", datetime(2026, 2, 3, tzinfo=UTC)),
        ("2026-02-03T22:05:00Z", datetime(2026, 2, 3, 22, 5, tzinfo=UTC)),
        ("2026-02-03T22:05:00+02:00", datetime(2026, 2, 3, 20, 5, tzinfo=UTC)),
        ("2026-02-03T22:05:00 02:00", datetime(2026, 2, 3, 20, 5, tzinfo=UTC)),
        ("2026-02-03T22:05", datetime(2026, 2, 3, 22, 5, tzinfo=UTC)),
    ],
)
def test_moments(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@given(st.text(max_size=40))
def test_a_moment_is_read_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert moment(text, NOW).utcoffset() == timedelta(0)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_query_is_read_or_refused(name: str, value: str) -> None:
    query: MultiDict[str] = MultiDict([(name, value), ("status", value), ("n", value)])
    given_ = Parameters(query, NOW)
    given_.choices("status", ["open"])
    given_.number("n", 0)
    given_.moment("at")
    given_.search("q")
    given_.page(tables.MARKETS.only("ticker", "close_time"), "ticker")
    with pytest.raises(Problem) as refused:
        given_.done()
        raise Problem(400, "", "", "", [])
    assert refused.value.status == 400


@given(
    st.one_of(
        st.tuples(st.just(Kind.INTEGER), st.integers(-(2**63) + 1, 2**63 - 1)),
        st.tuples(st.just(Kind.TEXT), TICKERS),
        st.tuples(st.just(Kind.TIME), MOMENTS.map(spelled_moment)),
        st.tuples(st.sampled_from([Kind.INTEGER, Kind.TEXT, Kind.TIME]), st.none()),
    ),
    TICKERS,
)
def test_a_cursor_comes_back_as_it_went(keyed: tuple[Kind, Any], ticker: str) -> None:
    cursor = Cursor("-volume", keyed[1], ticker)
    assert cursors.decode(cursors.encode(cursor), "-volume", keyed[0]) == cursor
    with pytest.raises(MalformedCursor):
        cursors.decode(cursors.encode(cursor), "volume", keyed[0])


@given(st.text(max_size=100))
def test_any_text_is_a_cursor_or_malformed(text: str) -> None:
    with contextlib.suppress(MalformedCursor):
        cursors.decode(text, "ticker", Kind.TEXT)


SECOND = 1_000_000_000


@given(
    st.integers(1, 1000),
    st.lists(st.integers(0, 10 * SECOND), min_size=1, max_size=300),
)
def test_a_key_never_passes_more_than_its_rate(limit: int, pauses: list[int]) -> None:
    """In any stretch from the start: the full bucket, and what refilled meanwhile."""
    limiter, now, passed = RateLimiter(), 12_345, 0
    began = now
    for pause in pauses:
        now += pause
        verdict = limiter.take("k", limit, now)
        passed += verdict.allowed
        assert passed * 60 * SECOND <= limit * (60 * SECOND + now - began)
        assert verdict.allowed == (verdict.retry_after_seconds == 0)
        assert 0 <= verdict.remaining <= limit


@given(
    st.integers(1, 600),
    st.lists(st.integers(0, 70 * SECOND), max_size=20),
    st.integers(0, 2**62),
)
@example(limit=1, pauses=[4_413_379_689], start=0)
def test_who_waits_as_long_as_retry_after_says_is_never_early(
    limit: int, pauses: list[int], start: int
) -> None:
    """And what RateLimit says of itself holds as well: full again after `t` seconds."""
    limiter, now = RateLimiter(), start
    limiter.take("k", limit, now)
    for pause in pauses:
        now += pause
        limiter.take("k", limit, now)
    while (verdict := limiter.take("k", limit, now)).allowed:
        pass
    assert verdict.remaining == 0
    assert 1 <= verdict.retry_after_seconds <= verdict.reset_seconds
    later = now + verdict.retry_after_seconds * SECOND
    # A second less is not enough: it is as early as whole seconds can say.
    assert not limiter.peek("k", limit, later - SECOND).allowed
    assert limiter.peek("k", limit, later).allowed
    assert limiter.peek("k", limit, now + verdict.reset_seconds * SECOND).remaining == limit


def test_a_limiter_forgets_the_oldest_names_only() -> None:
    limiter = RateLimiter(capacity=2)
    for name in ("a", "b", "a", "c"):
        limiter.take(name, 2, 0)
    assert not limiter.take("a", 2, 0).allowed
    assert limiter.take("b", 2, 0).allowed


def test_times_that_python_cannot_hold_still_have_their_order() -> None:
    early = ["-infinity", "-4713-11-24T00:00:00Z", "0000-12-31T23:59:59Z"]
    late = ["+15000-12-31T23:40:28Z", "infinity"]
    for text in early:
        assert rows.nearest(text) < rows.nearest("0001-06-01T00:00:00Z")
    for text in late:
        assert rows.nearest(text) > rows.nearest("9999-06-01T00:00:00Z")
    assert rows.for_postgresql("-0043-03-15T00:00:00Z") == "0044-03-15T00:00:00Z BC"
    assert rows.for_postgresql("0000-03-15T00:00:00Z") == "0001-03-15T00:00:00Z BC"
    assert rows.for_postgresql("+15000-12-31T23:40:28Z") == "15000-12-31T23:40:28Z"
    for text in ("2026-02-03T22:05:00Z", "infinity", "-infinity", "0001-01-01T00:00:00Z"):
        assert rows.for_postgresql(text) == text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.0", None),
        ("gzip; q=0.5, br", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("br, *;q=0.1", "zstd"),
        ("*, zstd;q=0", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("zstd;q=bad", "zstd"),
        ("identity", None),
        ("x-gzip", None),
    ],
)
def test_accept_encoding(header: str, expected: str | None) -> None:
    assert codings.accepted(header) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"X-API-Key": " k "}, "k"),
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "BEARER  k "}, "k"),
        ({"Authorization": "Basic k"}, None),
        ({"Authorization": "Bearer"}, None),
        ({"X-API-Key": "", "Authorization": "Bearer k"}, "k"),
    ],
)
def test_where_a_key_is_found(headers: dict[str, str], expected: str | None) -> None:
    assert presented(headers) == expected


def test_a_key_can_be_parsed_and_has_no_part_that_can_be_misread() -> None:
    made = apikeys.generate("home-lab2")
    parsed = apikeys.parse(made.text)
    assert parsed
    assert (parsed.environment, parsed.prefix) == ("home-lab2", made.prefix)
    assert apikeys.matches(parsed, made.hash)
    assert made.text not in repr(made)
    # A secret from elsewhere may hold the separator.
    foreign = apikeys.parse("sk_live_abcd1234_with_under_scores_16")
    assert foreign
    assert (foreign.environment, foreign.prefix) == ("live", "abcd1234")


STEPS = [
    {"fee_type": "a", "effective_from": None, "effective_to": "2026-02-01T00:00:00Z"},
    {
        "fee_type": "b",
        "effective_from": "2026-02-01T00:00:00Z",
        "effective_to": "2026-02-03T00:00:00.5Z",
    },
    {"fee_type": "c", "effective_from": "2026-03-01T00:00:00Z", "effective_to": None},
]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2020-01-01T00:00:00Z", "a"),
        ("2026-01-31T23:59:59.999999Z", "a"),
        ("2026-02-01T00:00:00Z", "b"),
        ("2026-02-03T00:00:00Z", "b"),
        ("2026-02-03T00:00:00.5Z", None),
        ("2026-02-28T00:00:00Z", None),
        ("2027-01-01T00:00:00Z", "c"),
    ],
)
def test_the_fee_in_force(at: str, expected: str | None) -> None:
    step = feeschedule.in_force(STEPS, datetime.fromisoformat(at))
    assert (step and step["fee_type"]) == expected


def test_an_unknown_fee_type_costs_nothing_that_we_could_say() -> None:
    tier = {"taker_fee": "0.07", "maker_fee": "0.0175"}
    step = {"fee_type": "new_in_2027", "fee_multiplier": "1"}
    assert feeschedule.cost(step, tier, Decimal("0.5"), Decimal(1)) is None


@pytest.mark.parametrize(
    ("scope", "status", "expected"),
    [
        ({}, "active", True),
        ({}, "closed", True),
        ({}, "settled", False),
        ({"mode": "active"}, "active", True),
        ({"mode": "active"}, "open", False),
        ({"mode": "incremental"}, "active", False),
        ({"mode": "fees"}, "active", False),
        ({"mode": "invented"}, "active", False),
        ({"categories": ["Sports"]}, "active", True),
        ({"categories": ["Crypto"]}, "active", False),
        ({"tags": ["Basketball", "x"]}, "active", True),
        ({"tags": ["x"]}, "active", False),
        ({"games_only": True}, "active", False),
        ({"min_volume": 5}, "active", True),
        ({"min_volume": 6}, "active", False),
    ],
)
def test_what_a_run_covers(scope: dict[str, Any], status: str, expected: bool) -> None:
    series = {"category": "Sports", "tags": ["Basketball"], "is_game": False, "volume": 5}
    market = {"status": status, "observed_at": None, "series": series}
    run = Run(scope, NOW - timedelta(seconds=7), NOW)
    assert covers(run, market) is expected
    assert age_seconds([market], [run], NOW) == (7 if expected else None)


@pytest.mark.parametrize("unread", ["T1", "E1"])
def test_what_a_run_did_not_read_is_as_old_as_the_run_that_did(unread: str) -> None:
    """A market, or its whole event; and no listing shows multivariate markets."""
    series = {"category": "Sports", "tags": [], "is_game": False, "volume": 5}

    def market(ticker: str, event: str, collection: str | None = None) -> dict[str, Any]:
        return {
            "ticker": ticker,
            "event_ticker": event,
            "mve_collection_ticker": collection,
            "status": "active",
            "observed_at": None,
            "series": series,
        }

    before, last = (
        Run({}, NOW - timedelta(seconds=ago), NOW, frozenset(names))
        for ago, names in ((50, []), (7, [unread]))
    )
    assert age_seconds([market("T1", "E1")], [before, last], NOW) == 50
    assert age_seconds([market("T2", "E2")], [before, last], NOW) == 7
    assert age_seconds([market("T3", "E3", "KXMVE")], [before, last], NOW) is None
