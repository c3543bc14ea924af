"""Hypothesis: the same examples in every run, or others and many (`make test-random`)."""

from hypothesis import settings

# A test whose examples are dear takes a part of these numbers.
settings.register_profile(
    "repeatable", max_examples=100, derandomize=True, database=None, deadline=None
)
settings.register_profile("random", max_examples=500, deadline=None, print_blob=True)
settings.load_profile("repeatable")
