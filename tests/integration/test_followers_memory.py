"""What two thousand readers of /v1/changes cost the API: memory, which comes back."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_readers_take_less_than_200_mb() -> None:
    """At 500 changes a second, by the benchmark whose figure the README tells."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    measured = subprocess.run(
        [
            sys.executable, "benchmarks/api_changes.py", "--wanted", "one series",
            "--readers", "2000", "--rate", "500", "--seconds", "8", "--rest", "45",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout  # fmt: skip
    found = re.search(r"resident (\d+) MB before, .* (\d+) at most, (\d+) [\d.]+ s after", measured)
    assert found, measured
    before, at_most, after = map(int, found.groups())
    assert "; 0 readers cut off;" in measured
    assert at_most < 200, measured
    # It kept 150 MB and more, for as long as it was looked at.
    assert after < before + 60, measured
