"""What the records of the capture say of the times at which trades are missing."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from ssmd_archive import coverage, lines
from ssmd_archive.catalog import Archive
from ssmd_archive.certificate import Gap
from ssmd_archive.errors import ArchiveDamaged
from ssmd_stream.market.coverage import TRADE, State
from ssmd_stream.market.timeline import Interval

_MARGIN_US: Final = 2_000_000
"""Around a missing trade: coverage goes by connector's clock."""
_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _SECOND_US
_KEPT_DAYS: Final = 8


class CaptureGaps:
    """Of one archive's trades, day by day as they are asked for."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._days: dict[int, list[Interval]] = {}

    def of(self, missing_at: Iterable[int]) -> Iterator[Gap]:
        """What is said of each of these whole seconds (microseconds since 1970, ascending):
        neighbours of the same span once."""
        last: tuple[int, str, str] | None = None
        for second in missing_at:
            found = self._worst(second)
            place = found.since, found.state, found.why
            if place != last:
                last = place
                yield Gap(
                    since=lines.timestamp(found.since * 1000),
                    until=lines.timestamp(found.until * 1000),
                    state=found.state,
                    why=found.why,
                )

    def _worst(self, second: int) -> Interval:
        """The worst state around a second."""
        day = self._day(second // _DAY_US)
        if not day or second < day[0].since or second + _SECOND_US > day[-1].until:
            until = second + _SECOND_US
            return Interval(second, until, State.NOT_SUBSCRIBED, "the archive does not reach there")
        since, until = second - _MARGIN_US, second + _SECOND_US + _MARGIN_US
        around = [one for one in day if one.since < until and one.until > since]
        return max(around, key=lambda one: list(State).index(State(one.state)))

    def _day(self, day: int) -> list[Interval]:
        if day not in self._days:
            if len(self._days) >= _KEPT_DAYS:
                self._days.clear()
            since = datetime.fromtimestamp(day * 86_400, UTC)
            until = since + timedelta(days=1)
            try:
                found = coverage.read(self._archive, since, until)
            except ArchiveDamaged as error:
                span = Interval(day * _DAY_US, (day + 1) * _DAY_US, State.UNKNOWN, str(error))
                self._days[day] = [span]
            else:
                covered = coverage.covered(found, TRADE, None).intervals if found else []
                self._days[day] = covered
        return self._days[day]
