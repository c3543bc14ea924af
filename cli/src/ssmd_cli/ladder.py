"""The picture of an order book: asks above, bids below, bars for what rests there. Pure."""

from decimal import Decimal
from typing import Final

from ssmd_cli.table import shorten
from ssmd_common.book import Book

_BOLD, _RED, _GREEN, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_LEAST_BAR: Final = 4


def picture(
    book: Book,
    levels: int,
    size: tuple[int, int],
    *,
    age_seconds: float | None,
    changes: int,
    doubt: str | None,
    changed: Decimal | None,
    styled: bool,
    keys: str = "",
) -> list[str]:
    """Never more lines or cells than `size`; the level at the price `changed` stands out. `keys`
    says what may be pressed."""
    width, height = size
    bids, asks = book.ladder()
    each = max(1, min(levels, (height - 4) // 2))
    age = "" if age_seconds is None else f" · {max(age_seconds, 0):.1f} s old"
    title = f"{book.ticker} · {changes:,} messages{age}{keys and ' · '}{keys}"
    head = [_style(title, _BOLD, width, styled)]
    if doubt is not None:
        head.append(_style(f"! {doubt}", _RED, width, styled))
    shown = [*asks[:each][::-1], *bids[:each]]
    if not shown:
        return [*head, "the book is empty"][:height]
    most = max(Decimal(count) for _, count in shown)
    prices = max(len(price) for price, _ in shown)
    counts = max(len(count) for _, count in shown)
    bar = max(_LEAST_BAR, width - prices - counts - 6)
    lines = []
    for side, rows in (("ask", asks[:each][::-1]), ("bid", bids[:each])):
        for price, count in rows:
            text = f"{side} {price:>{prices}} {count:>{counts}} {_bar(Decimal(count) / most, bar)}"
            colour = _RED if side == "ask" else _GREEN
            if changed is not None and Decimal(price) == changed:
                colour = _BOLD + colour
            lines.append(_style(text.rstrip(), colour, width, styled))
        if side == "ask":
            lines.append(_style(_middle(bids, asks), _DIM, width, styled))
    return [*head, *lines][:height]


def _middle(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> str:
    if not bids or not asks:
        return "    no asks" if not asks else "    no bids"
    spread = Decimal(asks[0][0]) - Decimal(bids[0][0])
    return f"    spread {spread:f}"


def _bar(share: Decimal, width: int) -> str:
    eighths = max(1, int(share * width * 8))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + _EIGHTHS[rest].strip()


def _style(text: str, style: str, width: int, styled: bool) -> str:
    cut = shorten(text, width)
    return f"{style}{cut}{_PLAIN}" if styled else cut
