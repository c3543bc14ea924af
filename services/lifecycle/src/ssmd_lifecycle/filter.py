"""Which series lifecycle follows: a YAML file, read again when it changes.

    include:
      series: [KXBTCD, "KXNFL*"]
      categories: [Crypto]
    exclude:
      series: [KXBTC15M]

What is included is what matches any entry under `include` (everything, if there is none) and no
entry under `exclude`. A series may end in `*`. What no series is known of passes: it is looked up
once its market or event is known.
"""

import asyncio
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ssmd_common.errors import ConfigurationError
from ssmd_lifecycle import metrics

log = structlog.get_logger(__name__)


class Entries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One side of the filter."""

    series: list[str] = []
    categories: list[str] = []

    def matches(self, series: str | None, category: str | None) -> bool:
        return category in self.categories or any(
            fnmatchcase(series or "", pattern) for pattern in self.series
        )


class SeriesFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What passes; the empty filter lets everything pass."""

    include: Entries = Entries()
    exclude: Entries = Entries()

    def passes(self, series: str | None, category: str | None) -> bool:
        """Whether a series, or what is known of it, is followed."""
        if series is None:
            return True
        if self.exclude.matches(series, category):
            return False
        everything = not self.include.series and not self.include.categories
        return everything or self.include.matches(series, category)

    @property
    def is_empty(self) -> bool:
        return self == EVERYTHING


EVERYTHING: Final = SeriesFilter()


def parse(text: str, where: str) -> SeriesFilter:
    """Read a filter.

    Raises:
        ConfigurationError: it is not YAML of the documented form.
    """
    # Most services have no filter, and start without it.
    import yaml

    try:
        document = yaml.safe_load(text)
        return msgspec.convert(document if document is not None else {}, SeriesFilter)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise ConfigurationError(
            f"the series filter {where} cannot be read ({line}): it has the keys include and "
            "exclude, each with lists series and categories"
        ) from error


@dataclass(slots=True)
class FilterFile:
    """A filter that follows its file. Without a file everything passes."""

    path: Path | None
    current: SeriesFilter = EVERYTHING
    _stamp: tuple[int, int] | None = None

    def load(self) -> None:
        """Read the file for the first time; ConfigurationError where it is absent or wrong."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(
                f"the series filter {self.path} cannot be read ({reason}): "
                "check LIFECYCLE_FILTER_PATH"
            ) from error

    def refresh(self) -> None:
        """Read the file again if it changed; a wrong one is reported and the old filter stays."""
        try:
            if self._read():
                log.info("series filter read again", path=str(self.path))
        except (OSError, ValueError, ConfigurationError) as error:
            metrics.ERRORS.labels("filter").inc()
            log.warning("series filter is not used", error=str(error))

    async def follow(self, every_seconds: float = 1.0) -> None:
        """Keep up with the file, until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            self.refresh()

    def _read(self) -> bool:
        """Whether there is something new."""
        if self.path is None or (stamp := _stamp(self.path)) == self._stamp:
            return False
        self._stamp = stamp
        self.current = parse(self.path.read_text("utf-8"), str(self.path))
        return True


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
