"""A stepped clock, for the simulator's own tests only: services know nothing but system time."""

from dataclasses import dataclass


@dataclass
class Stepped:
    """A clock that moves only when told to."""

    now: float = 1_795_230_000.0

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += seconds
