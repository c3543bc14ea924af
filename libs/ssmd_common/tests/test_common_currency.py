"""Who speaks for a service, and the sentence for the whole."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common.currency import document, whole_of
from ssmd_common.parts import OLD_SECONDS, SERVICES, Gap, Known, Process, part_of, parts_of
from ssmd_common.sql import Queries

NOW = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def row(service: str, age: float = 1.0, **more: Any) -> Process:
    given: dict[str, Any] = {
        "service": service, "instance": f"host:1:{age}", "host": "host", "pid": 1,
        "state": "leading", "ready": True, "reasons": {}, "degraded": {}, "position": {},
        "lag_seconds": 0.5, "work": 10.0, "work_per_second": 1.0, "errors": 0.0,
        "memory_bytes": 80_000_000, "last_error": None, "last_error_at": None, "version": "0.1.0",
        "system_identifier": "7", "timeline": 1, "started_at": ago(86_400), "updated_at": ago(age),
        "age_seconds": age,
    }  # fmt: skip
    return Process(**{**given, **more})


def well(**more: Any) -> Known:
    """Everything works; lifecycle listens."""
    rows = [row(name) for name in SERVICES if name != "lifecycle"]
    rows.append(row("lifecycle", position={"listening": True}))
    given: dict[str, Any] = {
        "now": NOW, "rows": rows, "last_message_at": ago(60), "last_sync_at": ago(40),
        "full_sync_at": ago(7200), "repaired_at": ago(3600),
    }  # fmt: skip
    return Known(**{**given, **more})


def instead(known: Known, *rows: Process) -> Known:
    """With these rows in the place of their services' own."""
    named = {row.service for row in rows}
    kept = [row for row in known.rows if row.service not in named]
    return msgspec.structs.replace(known, rows=[*kept, *rows])


def whole(known: Known) -> Any:
    return whole_of(known, parts_of(known))


def test_all_is_well() -> None:
    found = whole(well())
    assert found.ready
    assert found.problems == []
    # The stream is half a second behind what cdc wrote a second ago, and cache as far behind it.
    assert found.current_as_of == ago(1.5)
    assert found.complete_since == ago(3600)
    assert found.sentence == (
        "current as of 2026-11-28 19:59:58 UTC, complete since 2026-11-28 19:00:00 UTC"
    )


def test_a_service_that_says_nothing_is_not_ready_and_says_since_when() -> None:
    known = instead(well(), row("cdc", OLD_SECONDS + 28))
    part = parts_of(known)[SERVICES.index("cdc")]
    assert (part.state, part.ready, part.note) == ("no word", False, "no word for 43 s")
    found = whole(known)
    assert not found.ready
    assert found.problems == ["cdc: no word for 43 s"]
    # What it said of its lag holds for the moment at which it said it.
    assert found.legs["stream"].as_of == ago(OLD_SECONDS + 28.5)
    assert found.current_as_of == found.legs["stream"].as_of


def test_a_service_that_never_said_anything() -> None:
    known = well(rows=[])
    assert [part.state for part in parts_of(known)] == ["unknown"] * len(SERVICES)
    found = whole(known)
    assert found.current_as_of is None
    assert "is not known: stream (it has never said" in found.sentence
    assert msgspec.json.encode(document(known))


def test_a_service_that_works_and_has_not_said_how_far_it_is() -> None:
    found = whole(instead(well(), row("cdc", lag_seconds=None, position={})))
    assert found.current_as_of is None
    assert "is not known: stream (cdc has not said how far it is)" in found.sentence


def test_the_one_that_does_the_work_speaks_for_its_service() -> None:
    standby = row("cdc", 0.1, state="standby", ready=True, reasons={"slot": "another streams"})
    dead = row("cdc", 300.0)
    leader = row("cdc", 2.0, lag_seconds=3.0)
    part = part_of("cdc", [standby, dead, leader], NOW)
    assert part.speaker is leader
    assert part.ready
    assert part.note is None
    assert list(part.processes) == [leader, standby]
    behind = row("cdc", 2.0, ready=False, reasons={"lag": "90 s"})
    late = part_of("cdc", [standby, behind], NOW)
    assert (late.speaker, late.ready, late.note) == (behind, False, "lag: 90 s")
    alone = part_of("cdc", [standby, dead], NOW)
    assert (alone.state, alone.ready) == ("standby", False)
    assert alone.note == "slot: another streams"


def test_how_it_ended_is_told() -> None:
    stopped = row("api", 30.0, state="stopped", ready=False, reasons={"running": "was stopped"})
    part = part_of("api", [stopped], NOW)
    assert (part.state, part.ready, part.note) == ("stopped", False, "was stopped, 30 s ago")
    failed = row("api", 1.0, state="failed", ready=False, reasons={"running": "mend line 3"})
    assert part_of("api", [failed], NOW).note == "mend line 3, 1 s ago"


def test_a_service_that_is_started_again_and_again() -> None:
    rows = [
        row("api", age, state="failed", ready=False, reasons={"running": "no"},
            started_at=ago(age + 1))
        for age in (2, 30, 60, 90, 120)
    ]  # fmt: skip
    assert "5 starts within the last hour" in str(part_of("api", rows, NOW).note)
    # Whoever stops and starts a system a few times has broken nothing.
    stopped = [
        row("api", age, state="stopped", ready=False, started_at=ago(age + 1))
        for age in (2, 30, 60, 90, 120)
    ]
    stopped_and_lives = part_of("api", [*stopped, row("api", 1.0, started_at=ago(1))], NOW)
    assert (stopped_and_lives.note, stopped_and_lives.starts_last_hour) == (None, 6)
    assert "4 starts" in str(part_of("api", [*stopped, *rows[:4]], NOW).note)
    many_replicas = [row("api", n, started_at=ago(60)) for n in range(1, 7)]
    assert part_of("api", many_replicas, NOW).note is None


def test_what_is_degraded_is_a_problem_and_leaves_it_ready() -> None:
    found = whole(instead(well(), row("cache", degraded={"poison": "2 messages were passed over"})))
    assert found.ready
    assert found.problems == ["cache: poison: 2 messages were passed over"]


def test_an_open_gap_is_incomplete_from_its_beginning() -> None:
    found = whole(well(gaps=[Gap("disconnect", ago(600)), Gap("silence", ago(100))]))
    assert found.complete_since is None
    assert found.incomplete_since == ago(600)
    assert found.sentence.endswith(
        "incomplete since 2026-11-28 19:50:00 UTC: a gap (disconnect) is not repaired yet"
    )


def test_without_a_full_sync_nothing_is_complete() -> None:
    found = whole(well(full_sync_at=None))
    assert found.complete_since is None
    assert found.incomplete_why == "no full sync has succeeded yet"


def test_lifecycle_gone_is_incomplete_since_its_last_word() -> None:
    silent = row("lifecycle", 300.0, position={"listening": True})
    found = whole(instead(well(last_message_at=ago(400)), silent))
    assert found.incomplete_since == ago(300)
    assert found.legs["exchange"].as_of == ago(40), "sync has read since"
    failed = row("lifecycle", 5.0, state="failed", ready=False, reasons={"running": "broke"})
    # Its last words came when it had long stopped to store anything.
    assert whole(instead(well(), failed)).incomplete_since == ago(60)
    waiting = row("lifecycle", ready=False, reasons={"exchange": "not connected"})
    found = whole(instead(well(), waiting))
    assert found.incomplete_since == ago(60)
    assert "not connected" in str(found.incomplete_why)


def test_without_a_websocket_the_last_run_is_what_was_seen() -> None:
    found = whole(instead(well(), row("lifecycle")))
    assert found.legs["exchange"].as_of == ago(40)
    assert found.current_as_of == ago(40)
    assert found.complete_since is not None


@pytest.mark.parametrize(
    ("reasons", "position", "expected"),
    [
        ({"lag": "120 s behind"}, {}, ago(121)),
        ({"nats": "does not answer"}, {"commit_time": "2026-11-28T19:30:00Z"}, ago(1800)),
        ({"nats": "does not answer"}, {"commit_time": ago(1800).timestamp()}, ago(1800)),
        ({"nats": "does not answer"}, {}, None),
        ({"nats": "does not answer"}, {"commit_time": "yesterday"}, None),
    ],
)
def test_an_old_lag_is_not_believed(
    reasons: dict[str, str], position: dict[str, Any], expected: datetime | None
) -> None:
    cdc = row("cdc", ready=False, reasons=reasons, position=position, lag_seconds=120.0)
    found = whole(instead(well(), cdc))
    assert found.legs["stream"].as_of == expected
    if expected is None:
        assert found.current_as_of is None
        assert "stream (nats: does not answer)" in found.sentence


_rows = st.builds(
    row,
    st.sampled_from([*SERVICES, "someone else"]),
    st.floats(-5, 1e6),
    state=st.sampled_from(["leading", "standby", "stopped", "failed", "starting"]),
    ready=st.booleans(),
    reasons=st.dictionaries(st.sampled_from(["lag", "nats", "running"]), st.text(), max_size=2),
    lag_seconds=st.none() | st.floats(0, 1e6),
    position=st.dictionaries(
        st.sampled_from(["commit_time", "listening"]),
        st.none() | st.booleans() | st.text() | st.floats() | st.integers(),
    ),
)


@given(
    st.lists(_rows, max_size=8),
    st.lists(st.just(Gap("x", ago(5))), max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_whatever_stands_there_there_is_a_sentence(
    rows: list[Process], gaps: list[Gap], synced: bool, heard: bool
) -> None:
    known = well(
        rows=rows,
        gaps=gaps,
        full_sync_at=ago(9) if synced else None,
        last_message_at=ago(3) if heard else None,
        last_sync_at=ago(3) if synced else None,
        repaired_at=None,
    )
    found = whole(known)
    assert (found.complete_since is None) == (found.incomplete_why is not None)
    assert found.complete_since is None or (synced and not gaps)
    if found.current_as_of is not None:
        assert all(leg.as_of and found.current_as_of <= leg.as_of for leg in found.legs.values())
    for part in parts_of(known):
        assert not part.ready or any(r.alive and r.ready for r in rows if r.service == part.name)
        assert part.ready or part.note
    assert msgspec.json.encode(document(known))


async def test_the_query_finds_all_of_it(database: Any) -> None:
    query = Queries("ssmd_common").status_overview

    async with database.connect() as connection:

        async def known() -> Known:
            from ssmd_common.parts import read

            found = await (await connection.execute(query)).fetchone()
            assert found is not None
            return read(found[0])

        empty = await known()
        assert (empty.rows, empty.gaps, empty.full_sync_at) == ([], [], None)
        await connection.execute(
            "INSERT INTO sync_runs (job, scope, started_at, finished_at, outcome, unread) VALUES"
            " ('everything', '{}', now() - interval '4 h', now() - interval '3 h', 'partial',"
            "  NULL),"
            " ('everything', '{}', now() - interval '3 h', now() - interval '2 h', 'failed', NULL),"
            " ('everything', '{}', now() - interval '2 h', now() - interval '1 h', 'partial',"
            "  '{}'),"
            " ('some', '{\"tags\":[\"x\"]}', now() - interval '4 h', now() - interval '3 h', 'ok',"
            "  '{}'),"
            " ('everything', '{}', now() - interval '10 m', now() - interval '9 m', 'ok', NULL),"
            " ('fees', '{\"mode\":\"fees\"}', now(), now(), 'ok', '{}')"
        )
        await connection.execute(
            "INSERT INTO lifecycle_gaps (reason, began_at, repaired_at) VALUES"
            " ('start', now() - interval '9 m', now() - interval '8 m'),"
            " ('disconnect', now() - interval '1 m', NULL)"
        )
        await connection.execute(
            "INSERT INTO market_lifecycle_events (event_type, metadata, received_at, dedupe_key)"
            " VALUES ('determined', '{}', now() - interval '5 m', 'a'),"
            " ('closed', '{\"source\":\"clock\"}', now(), 'b')"
        )
        await connection.execute(
            "INSERT INTO service_status SELECT 'api', 'x', 'host', 7, 'serving', true, '{}', '{}',"
            " '{\"a\":1}', NULL, 0, NULL, 0, NULL, NULL, NULL, '0', NULL, NULL, now(),"
            " now() - interval '20 s'"
        )
        full = await known()
    since = {
        name: (full.now - getattr(full, name)).total_seconds() // 60
        for name in ("last_message_at", "last_sync_at", "full_sync_at", "repaired_at")
    }
    assert since == {
        "last_message_at": 5, "last_sync_at": 10, "full_sync_at": 60, "repaired_at": 8,
    }  # fmt: skip
    assert [gap.reason for gap in full.gaps] == ["disconnect"]
    assert full.rows[0].position == {"a": 1}
    assert 20 <= full.rows[0].age_seconds < 600
