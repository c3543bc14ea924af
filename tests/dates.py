"""Run suites with the clock moved: before midnight, at a month's end, when New York changes its
clocks, while the exchange has its weekly maintenance. PostgreSQL, Valkey and our own processes run
under the same moved clock (libfaketime); NATS, which asks the kernel itself, does not, so suites
that compare its times are not among these.

usage: make test-dates [DATES="2027-03-14T06:55:00Z"] [ARGS="services/sync -k wal"]
"""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ssmd_simulator import maintenance
from ssmd_stack.faketime import library

ROOT = Path(__file__).parents[1]
SUITES = (
    "services/sync", "libs/ssmd_common", "libs/ssmd_kalshi", "simulator", "services/lifecycle",
    "services/api",
)  # fmt: skip

POOLERS = "libs/ssmd_common/tests/test_common_poolers.py::"
LEFT_OUT = [
    # PostgreSQL's own time limits do not work under the library, at any date: an idle session is
    # not ended, by which a pooler's kind is known, and a statement's limit ends its whole session.
    f"--deselect={POOLERS}test_session_pooling_is_taken",
    f"--deselect={POOLERS}test_options_in_the_url_pass_a_pooler_that_refuses_them",
    "--deselect=services/api/tests/test_api_outages.py::test_a_query_that_takes_too_long_is_cancelled",
]


def dates(now: datetime) -> list[datetime]:
    """Each a few minutes before something that code may get wrong."""
    midnight = now.replace(hour=23, minute=50, second=0, microsecond=0)
    thursday = datetime.fromtimestamp(maintenance.next_start(now.timestamp()), UTC)
    next_month = (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)
    return [
        midnight,
        next_month - timedelta(days=1),
        datetime(2027, 3, 14, 6, 55, tzinfo=UTC),
        datetime(2027, 11, 7, 5, 55, tzinfo=UTC),
        datetime(2027, 11, 7, 6, 55, tzinfo=UTC),
        # The exchange's weekly maintenance begins, and lasts.
        thursday - timedelta(minutes=5),
        thursday + timedelta(minutes=10),
    ]


def main(arguments: list[str]) -> int:
    preload = library()
    if preload is None:
        print("skipped: libfaketime is not here (Debian: apt-get install faketime)")
        return 0
    chosen = [datetime.fromisoformat(text) for text in os.environ.get("DATES", "").split()]
    failed = []
    for date in chosen or dates(datetime.now(UTC)):
        # One suite at a time, so that each begins at the same distance from the hour that matters.
        for suite in [arguments] if arguments else [[suite] for suite in SUITES]:
            name = f"{date:%Y-%m-%d %H:%M} UTC, {' '.join(suite)}"
            print(f"== as if it were {name}", flush=True)
            if run(preload, date, suite):
                failed.append(name)
    print("\n".join(f"failed: {name}" for name in failed) or "passed at every date")
    return bool(failed)


def run(preload: Path, date: datetime, arguments: list[str]) -> int:
    offset = (date - datetime.now(UTC)).total_seconds()
    return subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile",
            # Under the library all is slower.
            "-p", "moved_clock", "-o", "timeout=600", *arguments, *LEFT_OUT,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "tests"),
            "LD_PRELOAD": str(preload),
            "FAKETIME": f"{offset:+.0f}",
            # Deadlines and files keep their own time.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        },
        check=False,
    ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
