"""A process whose clock is wrong: libfaketime, which can be set while the process runs.

Deadlines and files keep their own time; only what asks for the time of day is told another.
"""

from dataclasses import dataclass
from pathlib import Path

_LIBRARY = "faketime/libfaketimeMT.so.1"


def library() -> Path | None:
    """libfaketime, where Debian's package `faketime` has put it; None where it is not."""
    folders = [Path("/usr/lib"), *Path("/usr/lib").glob("*-linux-gnu*")]
    return next((f / _LIBRARY for f in folders if (f / _LIBRARY).is_file()), None)


@dataclass(frozen=True, slots=True)
class WrongClock:
    """The clock of processes started with `environment`; right until it is `set`."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes a child process go by this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds_ahead: float) -> None:
        """Make it so much ahead of the right time (negative: behind), from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds_ahead:+g}\n", "ascii")
        fresh.rename(self.file)
