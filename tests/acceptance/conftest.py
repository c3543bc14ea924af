"""Each acceptance test starts and stops a system of its own.

A slow one does so in a clean clone, as a newcomer does. Its environment takes more processor time
to make than the other test to run, so that one has an empty directory and the environment at hand.
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
    if request.node.get_closest_marker("slow"):
        started = System(request.getfixturevalue("checkout"))
        started.make("up", " ".join(UP))
    else:
        started = System(tmp_path, own=False)
        started.ssmd("up", *UP)
    failed = request.session.testsfailed
    try:
        yield started
        if request.session.testsfailed > failed:
            print(started.logs())  # noqa: T201 - shown with the failed test
    finally:
        started.ssmd("down", check=False)
