"""What the records of the capture say of the times at which trades are missing."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ssmd_archive import coverage, lines
from ssmd_archive.catalog import Archive
from ssmd_archive.certificate import Gap
from ssmd_archive.errors import ArchiveDamaged
from ssmd_stream.market.coverage import TRADE, State, of_datetime
from ssmd_stream.market.timeline import Interval

_MARGIN_US: Final = 2_000_000
"""Around a missing trade: coverage goes by connector's clock."""
_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _SECOND_US
_KEPT_DAYS: Final = 8
_FINE: Final = (State.COMPLETE, State.REPAIRED)


class Opening(NamedTuple):
    """Trades were not captured when a market opened: `gap` ends when they were, or the market did.

    `captured_since` is None where they never were.
    """

    gap: Gap
    captured_since: str | None


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

    def opening(self, opened: int, ended: int) -> Opening | None:
        """What was not captured of a market from its opening on (microseconds since 1970); None
        where its opening was."""
        worst = self._worst(opened // _SECOND_US * _SECOND_US)
        if worst.state in _FINE:
            return None
        since = self._captured_since(opened, ended)
        gap = Gap(
            since=lines.timestamp(opened * 1000),
            until=lines.timestamp((ended if since is None else since) * 1000),
            state=worst.state,
            why=worst.why,
        )
        return Opening(gap, None if since is None else gap.until)

    def _captured_since(self, start: int, end: int) -> int | None:
        """The first moment from `start` on at which trades were captured."""
        for name in self._archive.days():
            day = of_datetime(coverage.day_of(name)[0]) // _DAY_US
            if start // _DAY_US <= day <= end // _DAY_US:
                for one in self._day(day):
                    if one.state in _FINE and one.until > start and one.since < end:
                        return max(one.since, start)
        return None

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
