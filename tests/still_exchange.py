"""An exchange that stands still."""

import time

from ssmd_simulator.server import Simulator


def standing_still(size: str) -> Simulator:
    """A simulator without limits whose clock hardly moves: no market opens or closes, and no
    quarter of an hour begins, while a test looks at it. Each change has a time of its own all the
    same."""
    start = time.time()
    return Simulator(
        size,
        tempo=None,
        budget=0,
        creation_lag=0,
        clock=lambda: start + (time.time() - start) / 100,
    )
