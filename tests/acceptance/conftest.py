"""Each acceptance test starts and stops a system of its own, in a clean clone, as a newcomer does.

All of them are slow: in the default run `cli/tests/test_up.py` starts a whole system, and the tests
of `tests/integration` follow rows through all services.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from newcomer import System, clone

UP = ("--detach", "--tempo", "quick")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("clone of ssmd"))


@pytest.fixture
def system(request: pytest.FixtureRequest, checkout: Path) -> Iterator[System]:
    started = System(checkout)
    started.make("up", " ".join(UP))
    failed = request.session.testsfailed
    try:
        yield started
        if request.session.testsfailed > failed:
            print(started.logs())  # noqa: T201 - shown with the failed test
    finally:
        started.ssmd("down", check=False)
