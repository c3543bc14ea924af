"""Run suites with the clock moved: before midnight, at a month's end, when New York changes its
clocks. PostgreSQL, Valkey and our own processes run under the same moved clock (libfaketime); NATS,
which asks the kernel itself, does not, so suites that compare its times are not among these.

usage: make test-dates [DATES="2027-03-14T06:55:00Z"] [ARGS="services/sync -k wal"]
"""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ssmd_stack.faketime import library

ROOT = Path(__file__).parents[1]
SUITES = (
    "services/sync", "libs/ssmd_common", "libs/ssmd_kalshi", "simulator", "services/lifecycle",
    "services/api",
    # They wait for children with time.sleep, which the library at times makes an EINVAL.
    "--ignore=libs/ssmd_common/tests/test_common_runtime.py",
)  # fmt: skip


def dates(now: datetime) -> list[datetime]:
    """Each a few minutes before something that code may get wrong."""
    midnight = now.replace(hour=23, minute=50, second=0, microsecond=0)
    next_month = (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)
    return [
        midnight,
        next_month - timedelta(days=1),
        datetime(2027, 3, 14, 6, 55, tzinfo=UTC),
        datetime(2027, 11, 7, 5, 55, tzinfo=UTC),
        datetime(2027, 11, 7, 6, 55, tzinfo=UTC),
    ]


def main(arguments: list[str]) -> int:
    preload = library()
    if preload is None:
        print("skipped: libfaketime is not here (Debian: apt-get install faketime)")
        return 0
    chosen = [datetime.fromisoformat(text) for text in os.environ.get("DATES", "").split()]
    failed = []
    for date in chosen or dates(datetime.now(UTC)):
        print(f"== as if it were {date:%Y-%m-%d %H:%M} UTC", flush=True)
        offset = (date - datetime.now(UTC)).total_seconds()
        ran = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile",
                *(arguments or SUITES),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "LD_PRELOAD": str(preload),
                "FAKETIME": f"{offset:+.0f}",
                # Deadlines and files keep their own time.
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            },
            check=False,
        )  # fmt: skip
        if ran.returncode:
            failed.append(f"{date:%Y-%m-%d %H:%M}")
    print(f"failed at: {', '.join(failed)}" if failed else "passed at every date")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
