"""The oracle under made-up workloads: two sessions whose transactions interleave."""

from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEYS = st.integers(0, 6)
TEXTS = st.text(
    alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20
)
NUMBERS = st.decimals(min_value=-1000, max_value=1000, places=4) | st.sampled_from(
    ["NaN", "0.4500"]
)

STEPS = st.one_of(
    st.tuples(st.just("insert"), KEYS, TEXTS, NUMBERS),
    st.tuples(st.just("update"), KEYS, TEXTS, NUMBERS),
    st.tuples(st.just("touch"), KEYS),
    st.tuples(st.just("rename"), KEYS, KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("many"), KEYS),
    st.tuples(st.just("long"), KEYS),
    st.sampled_from(
        [("begin",), ("commit",), ("rollback",), ("savepoint",), ("undo",), ("truncate",)]
    ),
)
WORKLOADS = st.lists(st.tuples(st.integers(0, 1), STEPS), max_size=40)

STATEMENTS = {
    "insert": "INSERT INTO series (ticker, title, fee_multiplier, tags) VALUES"
    " ('K.' || %s::text, %s, %s, ARRAY['a', NULL, 'b\"c'])",
    "update": "UPDATE series SET title = %s, fee_multiplier = %s WHERE ticker = 'K.' || %s::text",
    "touch": "UPDATE series SET title = title WHERE ticker = 'K.' || %s::text",
    "rename": "UPDATE series SET ticker = 'K.' || %s::text WHERE ticker = 'K.' || %s::text",
    "delete": "DELETE FROM series WHERE ticker = 'K.' || %s::text",
    "many": "INSERT INTO fees SELECT 'T' || %s::text || g, 0.01, 0.02 FROM generate_series(1, 20) g"
    " ON CONFLICT (tier) DO UPDATE SET maker_fee = fees.maker_fee + 0.01",
    "long": "UPDATE series SET contract_url = repeat(md5(random()::text), 400)"
    " WHERE ticker = 'K.' || %s::text",
    "begin": "BEGIN",
    "commit": "COMMIT",
    "rollback": "ROLLBACK",
    "savepoint": "SAVEPOINT s",
    "undo": "ROLLBACK TO s",
    "truncate": "TRUNCATE fees",
}


async def run(db: psycopg.AsyncConnection[Any], step: tuple[Any, ...]) -> None:
    name, *values = step
    if name == "update":
        values = [*values[1:], values[0]]
    try:
        await db.execute(STATEMENTS[name].encode(), values or None)
    except psycopg.Error:
        # Duplicates, locks held by the other session, savepoints outside of a transaction.
        if name != "undo":
            await db.execute("ROLLBACK")


@settings(
    max_examples=settings().max_examples // 10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(workload=WORKLOADS)
async def test_any_workload(bench: Any, workload: list[tuple[int, tuple[Any, ...]]]) -> None:
    # One publisher and one stream for all examples: each must leave the oracle satisfied.
    publisher = bench.publishers[0] if bench.publishers else bench.start()
    await publisher.leading()
    async with bench.database.connect() as first, bench.database.connect() as second:
        for db in (first, second):
            await db.execute("SET lock_timeout = '20ms'")
            await db.execute("SET client_min_messages = 'error'")
        for session, step in workload:
            await run((first, second)[session], step)
        for db in (first, second):
            await db.execute("COMMIT")
    await bench.assert_faithful(publisher)
