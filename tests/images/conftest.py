"""Images that are built once a run from a clean clone, and a system of their containers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from container_engine import Engine, find_engine, public_directory
from container_images import Images
from newcomer import clone

REPORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    directory = public_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def engine(shared: Path) -> Iterator[Engine]:
    found = find_engine(shared)
    if isinstance(found, str):
        pytest.skip(found)
    yield found
    found.remove_containers()


@pytest.fixture(scope="session")
def images(engine: Engine, shared: Path, report: Callable[[str], None]) -> Iterator[Images]:
    made = Images(engine, clone(shared / "clone of ssmd"), report)
    yield made
    for name, seconds in made.seconds.items():
        report(f"{name}: built in {seconds:.0f} s")


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Lines that the run shows at its end: times and sizes are what this suite is asked for."""
    return pytestconfig.stash.setdefault(REPORT, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash.get(REPORT, []):
        terminalreporter.section("images")
        for line in lines:
            terminalreporter.write_line(line)
