"""What holds for all tests: Hypothesis's examples, and where garbage is not looked for.

The examples are the same in every run, or others and many (`make test-random`).
"""

import gc
from collections.abc import Generator

import pytest
from hypothesis import settings

# A test whose examples are dear takes a part of these numbers.
settings.register_profile(
    "repeatable", max_examples=100, derandomize=True, database=None, deadline=None
)
settings.register_profile("random", max_examples=500, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Tests and what they import stay: to look among them for garbage is in vain, then and later.

    Every `gc.collect()` would take a sixth of a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
