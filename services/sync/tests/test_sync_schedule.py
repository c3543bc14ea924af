"""When jobs are due, and what a schedule file may say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import load as load_settings
from ssmd_simulator.generator import REAL_COUNTS
from ssmd_sync.pastrun import PastRun
from ssmd_sync.schedule import LONGEST_RETRY, Job, due_at, duration, load, parse
from ssmd_sync.scope import Mode
from ssmd_sync.settings import SyncSettings

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def job(every: str = "5m", **more: str) -> Job:
    return Job(id="quotes", every=every, **more)


def ran(started_at: datetime, outcome: str = "ok", seconds: float = 30) -> PastRun:
    return PastRun(started_at, started_at + timedelta(seconds=seconds), outcome)


def test_a_job_that_ran_is_due_in_the_next_period() -> None:
    now = NOON + MINUTE
    assert due_at(job(), [ran(NOON)], NOON, now) == NOON + 5 * MINUTE


def test_missed_periods_are_caught_up_once() -> None:
    now = NOON + 61 * MINUTE
    due = due_at(job(), [ran(NOON)], NOON, now)
    assert due == NOON + 60 * MINUTE
    assert due_at(job(), [ran(now)], NOON, now + MINUTE) == NOON + 65 * MINUTE


def test_a_run_that_takes_longer_than_its_period_is_followed_by_the_period_that_has_begun() -> None:
    long = ran(NOON, seconds=12 * 60)
    now = NOON + 12 * MINUTE
    assert due_at(job(), [long], NOON, now) == NOON + 10 * MINUTE


def test_a_job_that_never_ran_starts_with_the_next_period_and_the_bootstrap_at_once() -> None:
    since = NOON + MINUTE
    assert due_at(job(), [], since, since) == NOON + 5 * MINUTE
    bootstrap = Job(id="everything", every="1d", mode=Mode.FULL)
    assert due_at(bootstrap, [], since, since) == since
    assert not Job(id="x", every="1d", mode=Mode.FULL, tags=("Golf",)).is_bootstrap


def test_a_failed_run_is_tried_again_soon_and_then_less_often() -> None:
    now = NOON + MINUTE
    daily = job("1d")
    pauses = []
    for failures in range(1, 12):
        runs = [ran(NOON, "failed", seconds=0)] * failures + [ran(NOON - MINUTE)]
        pauses.append(due_at(daily, runs, NOON, now) - NOON)
    assert pauses[0] == timedelta(seconds=5)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_RETRY
    # Not less often than the period itself.
    assert due_at(job("1m"), [ran(NOON, "failed", seconds=0)] * 11, NOON, now) == NOON + MINUTE


def test_a_killed_run_counts_as_failed() -> None:
    killed = PastRun(NOON, None, "running")
    due = due_at(job("1d"), [killed, ran(NOON - MINUTE)], NOON, NOON + MINUTE)
    assert due == NOON + timedelta(seconds=5)


def test_a_refused_sweep_is_not_a_failed_run() -> None:
    for outcome in ("refused", "partial"):
        assert due_at(job(), [ran(NOON, outcome)], NOON, NOON + MINUTE) == NOON + 5 * MINUTE


@given(
    st.integers(1, 86_400),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.integers(0, 2_000_000_000),
    st.integers(0, 100_000),
)
def test_a_run_at_its_due_time_is_due_again_later_and_within_two_periods(
    every: int, offset: float, jitter: float, at: int, later: int
) -> None:
    """So no period is run twice, and none is left out."""
    a = Job(
        id="a",
        every=f"{every}s",
        offset=f"{int(every * offset)}s",
        jitter=f"{int(every * jitter)}s",
    )
    now = datetime.fromtimestamp(at, UTC)
    due = due_at(a, [ran(now, seconds=0)], now, now)
    assert now < due <= now + 2 * a.period
    after = due + timedelta(seconds=later)
    assert due_at(a, [ran(due, seconds=0)], now, max(due, after)) > due


def test_jitter_is_the_same_for_every_replica_and_differs_between_jobs() -> None:
    one, same = job(jitter="1m"), job(jitter="1m")
    other = Job(id="other", every="5m", jitter="1m")
    ticks = [one.tick(n) for n in range(50)]
    assert ticks == [same.tick(n) for n in range(50)]
    assert ticks != [other.tick(n) for n in range(50)]
    assert all(timedelta(0) <= t - job().tick(n) <= MINUTE for n, t in enumerate(ticks))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), (" 2 d ", 172_800)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("name", ["jobs.yaml", "jobs-local.yaml"])
def test_the_packaged_schedules_are_sound(name: str) -> None:
    jobs = load(name)
    assert [j.id for j in jobs if j.is_bootstrap] == ["everything"]
    assert jobs[0].is_bootstrap


def test_the_default_schedule_keeps_its_promises() -> None:
    jobs = {j.id: j for j in load("jobs.yaml")}
    periods = {name: j.period.total_seconds() / 60 for name, j in jobs.items()}
    assert periods == {
        "everything": 1440, "updates": 1, "windows": 15, "fees": 1440, "us-sports": 5,
        "crypto": 15, "financials": 15, "economics": 15, "politics": 30, "elections": 30,
        "other": 30,
    }  # fmt: skip
    assert jobs["us-sports"].games_only
    assert {n: j.min_volume for n, j in jobs.items() if j.categories} == {
        "crypto": 0, "financials": 250_000, "economics": 250_000, "politics": 250_000,
        "elections": 250_000, "other": 250_000,
    }  # fmt: skip


def test_no_category_is_left_without_quotes() -> None:
    read = {category for job in load("jobs.yaml") for category in job.categories}
    assert read >= set(REAL_COUNTS)


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    text = """
    jobs:
      - {id: a, every: often}
      - {id: b, every: 5m, colour: red}
      - {id: c, every: 5m, offset: 4m, jitter: 2m}
      - {id: d, every: 5m}
      - {id: d, every: 5m}
      - {id: e, every: 5m}
      - {id: f, formerly: e, every: 5m}
      - {every: 5m}
    """
    with pytest.raises(ConfigurationError) as error:
        parse(text)
    for word in (
        "job a",
        "'often'",
        "colour",
        "job c",
        "reach beyond",
        "d: stands twice",
        "e: stands twice",
        "`id`",
    ):
        assert word in str(error.value)


@pytest.mark.parametrize("text", ["", "jobs: []", "jobs: {a: 1}", "- 1", "a: [", "jobs: [1]"])
def test_a_file_that_is_no_schedule_is_refused_in_one_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That names the setting once, whatever is the matter."""
    with pytest.raises(ConfigurationError):
        parse(text)
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    monkeypatch.setenv("DATABASE_URL", "postgresql://here/db")
    monkeypatch.setenv("KALSHI_BASE_URL", "http://there")
    for name in (str(path), str(tmp_path / "absent.yaml")):
        monkeypatch.setenv("SYNC_JOBS_FILE", name)
        with pytest.raises(ConfigurationError) as error:
            load_settings(SyncSettings)
        assert str(error.value).count("SYNC_JOBS_FILE") == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(str(tmp_path / "absent.yaml"))
