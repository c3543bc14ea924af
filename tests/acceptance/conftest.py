"""Each acceptance test starts and stops a system of its own.

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
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """In an empty directory, of the environment at hand."""
    started = System(tmp_path, own=False)
    started.ssmd("up", *UP)
    yield from _until_the_end(started, request.session)


@pytest.fixture
def cloned_system(request: pytest.FixtureRequest, checkout: Path) -> Iterator[System]:
    """In a clean clone with an environment of its own, as a newcomer has it."""
    started = System(checkout)
    started.make("up", " ".join(UP))
    yield from _until_the_end(started, request.session)


def _until_the_end(started: System, session: pytest.Session) -> Iterator[System]:
    failed = session.testsfailed
    try:
        yield started
        if session.testsfailed > failed:
            print(started.logs())  # noqa: T201 - shown with the failed test
    finally:
        started.ssmd("down", check=False)
