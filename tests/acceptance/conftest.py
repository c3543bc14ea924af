"""One clean clone for the acceptance tests; each test starts and stops its own system in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from newcomer import System, clone


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("clone of ssmd"))


@pytest.fixture
def system(checkout: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    started = System(checkout)
    started.make("up", "--detach --tempo quick")
    failed = request.session.testsfailed
    try:
        yield started
        if request.session.testsfailed > failed:
            print(started.logs())  # noqa: T201 - shown with the failed test
    finally:
        started.make("down", check=False)
