"""What `ssmd archive coverage` prints: a table, JSON, or a timeline that is read at a glance."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ssmd_archive import coverage as archived
from ssmd_archive.catalog import Archive
from ssmd_archive.coverage import Covered, Read
from ssmd_archive.errors import NotArchived
from ssmd_cli import output
from ssmd_cli.life import duration
from ssmd_cli.table import Column, draw
from ssmd_common.errors import ConfigurationError
from ssmd_stream.market.coverage import CHANNELS, State
from ssmd_stream.market.timeline import Interval, Span

_SIGNS: Final = {
    State.COMPLETE: ("█", "\x1b[32m"),
    State.REPAIRED: ("▓", "\x1b[36m"),
    State.GAP: ("×", "\x1b[31m"),
    State.UNKNOWN: ("?", "\x1b[33m"),
    State.NOT_SUBSCRIBED: ("·", "\x1b[2m"),
}
_PLAIN: Final = "\x1b[0m"
_WIDE: Final = 120
_LEAST_PICTURE: Final = 24
_MOST_HOLES: Final = 20
_FINE: Final = (State.COMPLETE, State.NOT_SUBSCRIBED)


def coverage(
    root: Path,
    date: str | None,
    ticker: str | None,
    series: str | None,
    channel: str | None,
    *,
    as_json: bool,
) -> None:
    """Print what is known of a day.

    Raises:
        ConfigurationError: the day or the channel is none.
        NotArchived, NoArchive, ArchiveDamaged: it cannot be known.
    """
    if channel is not None and channel not in CHANNELS:
        raise ConfigurationError(f"--channel {channel}: give one of {', '.join(CHANNELS)}")
    if ticker is not None and series is not None:
        raise ConfigurationError("--ticker and --series exclude each other: give one")
    layouts = archived.streams(root)
    day = date or archived.last_day(root, layouts)
    if day is None:
        raise NotArchived("no market data are archived: ARCHIVER_STREAMS says what is")
    try:
        since, until = archived.day_of(day)
    except ValueError:
        raise ConfigurationError(f"--date {day} is no day such as 2026-02-03") from None
    read = [one for of in layouts if (one := archived.read(Archive(root, of), since, until))]
    if not read:
        raise NotArchived(f"nothing of market data is archived of {day}")
    found = list(_found(read, ticker, series, channel))
    if as_json:
        output.document(_document(day, read, found))
        return
    _show(day, read, found)


def _found(
    read: list[Read], ticker: str | None, series: str | None, channel: str | None
) -> Iterator[tuple[Read, Covered]]:
    for one in read:
        for name in archived.channels_of(one.stream):
            if channel not in (None, name):
                continue
            if name != "book":
                # These carry every market alike.
                yield one, archived.covered(one, name, ticker)
                continue
            known = one.coverage.tickers
            for market in [ticker] if ticker is not None and ticker in known else sorted(known):
                if ticker not in (None, market):
                    continue
                if series is None or market.partition("-")[0] == series:
                    yield one, archived.covered(one, name, market)


def _document(day: str, read: list[Read], found: list[tuple[Read, Covered]]) -> dict[str, Any]:
    return {
        "day": day,
        "streams": [
            {
                "stream": one.stream,
                "since": _text(one.span.since),
                "until": _text(one.span.until),
            }
            for one in read
        ],
        "coverage": [
            {
                "stream": one.stream,
                "channel": covered.channel,
                "ticker": covered.ticker,
                "seconds": covered.seconds(),
                "intervals": [_interval(interval) for interval in covered.intervals],
            }
            for one, covered in found
        ],
    }


def _interval(interval: Interval) -> dict[str, str | None]:
    return {
        "since": _text(interval.since),
        "until": _text(interval.until),
        "state": interval.state,
        "why": interval.why or None,
    }


def _show(day: str, read: list[Read], found: list[tuple[Read, Covered]]) -> None:
    if not found:
        output.note("no book of that kind was ever subscribed")
        return
    span = Span(min(one.span.since for one in read), max(one.span.until for one in read))
    width, styled = output.terminal_width() or _WIDE, output.is_bold()
    names = [_named(covered) for _, covered in found]
    columns = [Column("market", day, names)]
    for state in State:
        cells = [_share(covered, state) for _, covered in found]
        columns.append(Column(state, str(state), cells, is_number=True))
    lines = draw(columns, None).lines
    for line in lines:
        print(line)
    print()
    longest = max(map(len, names))
    room = max(_LEAST_PICTURE, width - longest - 2)
    print(f"{'':{longest}}  {_axis(span, room)}")
    for (_, covered), name in zip(found, names, strict=True):
        print(f"{name:<{longest}}  {picture(covered.intervals, span, room, styled=styled)}")
    print(f"{'':{longest}}  " + "  ".join(f"{sign} {state}" for state, (sign, _) in _SIGNS.items()))
    _show_holes(found)


def _show_holes(found: list[tuple[Read, Covered]]) -> None:
    holes = [
        (covered, interval)
        for _, covered in found
        for interval in covered.intervals
        if interval.state not in _FINE
    ]
    if holes:
        print()
    for covered, interval in holes[:_MOST_HOLES]:
        length = duration(timedelta(microseconds=interval.until - interval.since))
        print(
            f"{_clock(interval.since)} to {_clock(interval.until)}  {_named(covered)}  "
            f"{interval.state} ({length})" + (f": {interval.why}" if interval.why else "")
        )
    if len(holes) > _MOST_HOLES:
        output.note(f"{len(holes) - _MOST_HOLES} more: --json has all")


def picture(intervals: list[Interval], span: Span, width: int, *, styled: bool) -> str:
    """A character for each part of the span: its worst state, so that no hole is too short."""
    length = max(span.until - span.since, 1)
    worst = [-1] * width
    ranks = {state: rank for rank, state in enumerate(_WORST)}
    for interval in intervals:
        first = (interval.since - span.since) * width // length
        last = max((interval.until - span.since) * width - 1, 0) // length
        rank = ranks[State(interval.state)]
        for at in range(max(first, 0), min(last, width - 1) + 1):
            worst[at] = max(worst[at], rank)
    parts = []
    for rank in worst:
        sign, style = (" ", "") if rank < 0 else _SIGNS[_WORST[rank]]
        parts.append(f"{style}{sign}{_PLAIN}" if styled and style else sign)
    return "".join(parts)


_WORST: Final = (
    State.NOT_SUBSCRIBED,
    State.COMPLETE,
    State.REPAIRED,
    State.UNKNOWN,
    State.GAP,
)


def _axis(span: Span, width: int) -> str:
    """The clock at the beginning and the end, UTC."""
    begin, end = _clock(span.since), f"{_clock(span.until)} UTC"
    return f"{begin}{'':{max(1, width - len(begin) - len(end))}}{end}"


def _named(covered: Covered) -> str:
    # Trades and quotes are the same for every market.
    return f"{covered.channel} {covered.ticker or 'all markets'}"


def _share(covered: Covered, state: State) -> str:
    seconds = covered.seconds()
    whole = sum(seconds.values())
    if not seconds[state] or not whole:
        return "-"
    share = 100 * seconds[state] / whole
    # 100% is said of all of it alone.
    shown = "100" if share == 100 else f"{min(share, 99.99):.2f}"
    return f"{shown}% {duration(timedelta(seconds=seconds[state]))}"


def _clock(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1e6, UTC):%H:%M:%S}"


def _text(moment: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
