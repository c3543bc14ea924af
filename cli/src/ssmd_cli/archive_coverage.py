"""What `ssmd archive coverage` prints: a table, JSON, or a timeline that is read at a glance."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ssmd_archive import coverage as archived
from ssmd_archive.catalog import Archive
from ssmd_archive.coverage import Covered, Read
from ssmd_archive.errors import NotArchived
from ssmd_cli import output
from ssmd_cli.archive_place import parse_day
from ssmd_cli.coverage_picture import axis, cells, clock, legend, picture
from ssmd_cli.coverage_svg import svg
from ssmd_cli.life import duration
from ssmd_cli.table import Column, draw
from ssmd_common.errors import ConfigurationError
from ssmd_stream.market.coverage import CHANNELS, State
from ssmd_stream.market.timeline import Interval, Span

_WIDE: Final = 120
_LEAST_PICTURE: Final = 24
_MOST_HOLES: Final = 20
_MOST_ALONE: Final = 30
"""Markets that have a line each; of more, those whose timelines look the same share one."""
_MOST_LINES: Final = 60
_FINE: Final = (State.COMPLETE, State.NOT_SUBSCRIBED)


class _Line(NamedTuple):
    """Markets of one channel that are shown as one; `intervals` are those of the first."""

    channel: str
    tickers: list[str | None]
    seconds: dict[str, float]
    """In all of them together."""
    intervals: list[Interval]

    @property
    def name(self) -> str:
        first = self.tickers[0] or "all markets"
        more = f" and {len(self.tickers) - 1:,} more" if len(self.tickers) > 1 else ""
        return f"{self.channel} {first}{more}"


def coverage(
    root: Path,
    date: str | None,
    ticker: str | None,
    series: str | None,
    channel: str | None,
    drawing: Path | None = None,
    *,
    as_json: bool,
) -> None:
    """Print what is known of a day; with `drawing` also write it there as SVG.

    Raises:
        ConfigurationError: the day or the channel is none.
        NotArchived, NoArchive, ArchiveDamaged: it cannot be known.
    """
    if channel is not None and channel not in CHANNELS:
        raise ConfigurationError(f"--channel {channel}: give one of {', '.join(CHANNELS)}")
    if ticker is not None and series is not None:
        raise ConfigurationError("--ticker and --series exclude each other: give one")
    Archive(root)
    layouts = archived.streams(root)
    day = archived.last_day(root, layouts) if date is None else parse_day(date)
    if day is None:
        raise NotArchived("no market data are archived: ARCHIVER_STREAMS says what is")
    since, until = archived.day_of(day)
    read = [one for of in layouts if (one := archived.read(Archive(root, of), since, until))]
    if not read:
        raise NotArchived(f"nothing of market data is archived of {day}")
    found = list(_found(read, ticker, series, channel))
    if ticker is not None and found and not any(ticker in one.coverage.tickers for one in read):
        output.note(
            f"trade and ticker are of every market in connector's scope: whether there is a market "
            f"{ticker}, the records of the capture do not say"
        )
    if drawing is not None:
        span = _whole(read)
        rows = [(line.name, line.intervals) for line in _lines(found, span, _WIDE)]
        drawing.write_text(svg(f"Capture of {day}, UTC", span, rows[:_MOST_LINES]))
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
        "coverage": list(_documents(found)),
    }


def _documents(found: list[tuple[Read, Covered]]) -> Iterator[dict[str, Any]]:
    """Markets that share their intervals have them written once."""
    written: dict[int, tuple[dict[str, float], msgspec.Raw]] = {}
    for one, covered in found:
        known = written.get(id(covered.intervals))
        if known is None:
            raw = msgspec.json.encode([_interval(interval) for interval in covered.intervals])
            known = written[id(covered.intervals)] = covered.seconds(), msgspec.Raw(raw)
        yield {
            "stream": one.stream,
            "channel": covered.channel,
            "ticker": covered.ticker,
            "seconds": known[0],
            "intervals": known[1],
        }


def _interval(interval: Interval) -> dict[str, str | None]:
    return {
        "since": _text(interval.since),
        "until": _text(interval.until),
        "state": interval.state,
        "why": interval.why or None,
    }


def _whole(read: list[Read]) -> Span:
    return Span(min(one.span.since for one in read), max(one.span.until for one in read))


def _lines(found: list[tuple[Read, Covered]], span: Span, width: int) -> list[_Line]:
    """One for each market, or for those that look the same at this width: the worst first then."""
    seconds: dict[int, dict[str, float]] = {}
    looks: dict[int, object] = {}
    lines: dict[object, _Line] = {}
    is_grouped = len(found) > _MOST_ALONE
    for number, (_, covered) in enumerate(found):
        same = id(covered.intervals)
        if same not in seconds:
            seconds[same] = covered.seconds()
            looks[same] = tuple(cells(covered.intervals, span, width)) if is_grouped else None
        key = (covered.channel, looks[same]) if is_grouped else number
        line = lines.get(key)
        if line is None:
            none = dict.fromkeys(map(str, State), 0.0)
            line = lines[key] = _Line(covered.channel, [], none, covered.intervals)
        line.tickers.append(covered.ticker)
        for state, length in seconds[same].items():
            line.seconds[state] += length
    if not is_grouped:
        return list(lines.values())
    return sorted(lines.values(), key=lambda line: -line.seconds[State.GAP])


def _show(day: str, read: list[Read], found: list[tuple[Read, Covered]]) -> None:
    if not found:
        output.note("no book of that kind was ever subscribed")
        return
    span = _whole(read)
    width, styled = output.terminal_width() or _WIDE, output.is_bold()
    whole = _lines(found, span, width)
    lines = whole[:_MOST_LINES]
    names = [line.name for line in lines]
    columns = [
        Column("market", day, names),
        *(Column(state, state, [_share(line, state) for line in lines], True) for state in State),
    ]
    for text in draw(columns, None).lines:
        print(text)
    print()
    longest = max(map(len, names))
    room = max(_LEAST_PICTURE, width - longest - 2)
    print(f"{'':{longest}}  {axis(span, room)}")
    for line, name in zip(lines, names, strict=True):
        print(f"{name:<{longest}}  {picture(line.intervals, span, room, styled=styled)}")
    print(f"{'':{longest}}  {legend(styled=styled)}")
    if len(whole) > len(lines):
        output.note(f"{len(whole) - len(lines):,} lines more: --series and --ticker show them")
    _show_holes(found)


def _show_holes(found: list[tuple[Read, Covered]]) -> None:
    holes: dict[tuple[str, Interval], list[str | None]] = {}
    by_list: dict[int, list[Interval]] = {}
    for _, covered in found:
        same = id(covered.intervals)
        if same not in by_list:
            by_list[same] = [one for one in covered.intervals if one.state not in _FINE]
        for interval in by_list[same]:
            holes.setdefault((covered.channel, interval), []).append(covered.ticker)
    if holes:
        print()
    for (channel, interval), tickers in list(holes.items())[:_MOST_HOLES]:
        length = duration(timedelta(microseconds=interval.until - interval.since))
        named = _Line(channel, tickers, {}, []).name
        print(
            f"{clock(interval.since)} to {clock(interval.until)}  {named}  "
            f"{interval.state} ({length})" + (f": {interval.why}" if interval.why else "")
        )
    if len(holes) > _MOST_HOLES:
        output.note(f"{len(holes) - _MOST_HOLES:,} more: --json has all")


def _share(line: _Line, state: State) -> str:
    whole = sum(line.seconds.values())
    seconds = line.seconds[state]
    if not seconds or not whole:
        return "-"
    share = 100 * seconds / whole
    # 100% is said of all of it alone.
    shown = "100" if share == 100 else f"{min(share, 99.99):.2f}"
    # How long: of one market.
    return f"{shown}% {duration(timedelta(seconds=seconds / len(line.tickers)))}"


@lru_cache(maxsize=4096)
def _text(moment: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
