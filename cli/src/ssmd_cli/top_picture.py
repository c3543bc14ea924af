"""The picture of `ssmd top`, as lines of text for a terminal of any size."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

from ssmd_cli.life import duration
from ssmd_cli.output import as_text
from ssmd_cli.rates import LONGEST_SECONDS, Rates
from ssmd_cli.table import GAP, Column, cells_of, draw, shorten
from ssmd_cli.top_feed import Known

NOW_SECONDS: Final = 5
_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
_STYLE = re.compile(r"\x1b\[\d+m")
_BESIDE: Final = 100
_LEAST_ROWS: Final = 2

Block = list[str]


def picture(
    known: Known,
    url: str,
    now: datetime,
    clock: float,
    size: tuple[int, int],
    *,
    styled: bool,
    keys: str = "",
) -> list[str]:
    """Changes a second by type and category, what closes next, each service's lag.

    `now` is the time of day, `clock` that of the rates. Never more lines or cells than `size`;
    `styled` for a terminal that shows what is bold and red; `keys` says what may be pressed.
    """
    width, height = size
    head = _head(known, url, now, keys)
    services = _services(known.status, width)
    # What is left for lists that may be cut: two beside each other, or three below.
    beside = width >= _BESIDE
    left = max(0, height - len(head) - len(services) - (4 if beside else 5))
    share = max(_LEAST_ROWS, left // (2 if beside else 3))
    half = (width - 2 * GAP) // 2 if beside else width
    types = _rates("type", known.types, clock, share, half)
    categories = _rates("category", known.categories, clock, share, half)
    rest = left - (max(len(types), len(categories)) if beside else len(types) + len(categories))
    closing = _closing(known.closing, now, max(_LEAST_ROWS, rest + 1), width)
    if beside:
        rates = [
            f"{one}{'':{half - cells_of(one) + 2 * GAP}}{other}"
            for one, other in zip_longest(types, categories, fillvalue="")
        ]
    else:
        rates = [*types, "", *categories]
    lines = [*head, "", *_titled(rates), "", *_titled(closing), "", *_titled(services)]
    cut = [_cut(line, width) for line in lines[:height]]
    return cut if styled else [_STYLE.sub("", line) for line in cut]


def document(known: Known, now: datetime, clock: float) -> dict[str, Any]:
    """The same for programs."""
    status = known.status
    return {
        "now": now.isoformat().replace("+00:00", "Z"),
        "ready": status.get("ready"),
        "sentence": status.get("sentence"),
        "per_second": {
            "types": known.types.per_second(clock, NOW_SECONDS),
            "categories": known.categories.per_second(clock, NOW_SECONDS),
        },
        "closing": known.closing,
        "services": {
            name: {"state": one.get("state"), "lag_seconds": one.get("lag_seconds")}
            for name, one in (status.get("services") or {}).items()
        },
    }


def _head(known: Known, url: str, now: datetime, keys: str) -> Block:
    state = "ready" if known.status.get("ready") else "not ready"
    parts = ["ssmd top", url, f"{now:%H:%M:%S} UTC", state, keys]
    lines = [" · ".join(filter(None, parts))]
    if sentence := known.status.get("sentence"):
        lines.append(str(sentence))
    lines += [f"! {problem}" for problem in known.status.get("problems") or ()]
    if known.problem:
        lines.append(f"! {known.problem}")
    if not known.follows:
        lines.append("! no changes are heard: the stream is not followed")
    return lines


def _rates(name: str, rates: Rates, clock: float, most: int, width: int) -> Block:
    now = rates.per_second(clock, NOW_SECONDS)
    minute = rates.per_second(clock, LONGEST_SECONDS)
    names = sorted(rates.total, key=lambda one: (-minute.get(one, 0.0), -rates.total[one], one))
    rows = [("all", sum(now.values()), sum(minute.values()), rates.total.total())]
    rows += [(one, now.get(one, 0.0), minute.get(one, 0.0), rates.total[one]) for one in names]
    rows = rows[: max(1, most)]
    columns = [
        Column(name, f"by {name}", [row[0] for row in rows], is_prose=True),
        Column("now", "/s", [_number(row[1]) for row in rows], is_number=True),
        Column("minute", "/s, 1 min", [_number(row[2]) for row in rows], is_number=True),
        Column("all", "seen", [f"{row[3]:,}" for row in rows], is_number=True),
    ]
    return draw(columns, width).lines


def _closing(markets: Sequence[Mapping[str, Any]], now: datetime, most: int, width: int) -> Block:
    rows = [(row, datetime.fromisoformat(row["close_time"])) for row in markets]
    rows = [(row, at) for row, at in rows if at > now][: max(1, most - 1)]
    columns = [
        Column("in", "closes in", [duration(at - now) for _, at in rows], is_number=True),
        Column("ticker", "ticker", [as_text(row["ticker"]) for row, _ in rows]),
        Column("bid", "bid $", [_price(row["yes_bid_dollars"]) for row, _ in rows], True),
        Column("ask", "ask $", [_price(row["yes_ask_dollars"]) for row, _ in rows], True),
        Column("title", "title", [as_text(row["title"]) for row, _ in rows], is_prose=True),
    ]
    return draw(columns, width).lines


def _services(status: Mapping[str, Any], width: int) -> Block:
    rows = list((status.get("services") or {}).items())
    columns = [
        Column("service", "service", [name for name, _ in rows]),
        Column("state", "state", [as_text(one.get("state")) for _, one in rows]),
        Column("lag", "lag", [_lag(one.get("lag_seconds")) for _, one in rows], is_number=True),
    ]
    why = [_why(one) for _, one in rows]
    if any(why):
        columns.append(Column("why", "why", why, is_prose=True))
    return draw(columns, width).lines


def _why(service: Mapping[str, Any]) -> str:
    reasons = {**(service.get("reasons") or {}), **(service.get("degraded") or {})}
    return as_text("; ".join(str(reason) for reason in reasons.values()))


def _lag(seconds: Any) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _price(text: Any) -> str:
    """Four digits after the point, and more where the exchange says more."""
    whole = str(text or "")
    head, point, tail = whole.partition(".")
    return f"{head}.{tail.rstrip('0'):0<2}" if point else whole


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _titled(lines: Block) -> Block:
    """The first line stands out, and each that follows an empty one."""
    return [
        f"{_BOLD}{line}{_PLAIN}" if line and (at == 0 or not lines[at - 1]) else line
        for at, line in enumerate(lines)
    ]


def _cut(line: str, width: int) -> str:
    if line.startswith("! "):
        return f"{_RED}{shorten(line, width)}{_PLAIN}"
    if line.startswith(_BOLD):
        return f"{_BOLD}{shorten(line[len(_BOLD) : -len(_PLAIN)], width)}{_PLAIN}"
    return shorten(line, width)
