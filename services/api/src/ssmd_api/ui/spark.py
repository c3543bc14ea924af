"""A row of bars, as small as a word. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from html import escape

from markupsafe import Markup

_STEP, _WIDTH, _HEIGHT, _TALLEST = 4, 3, 20, 19


def spark(values: Sequence[int], label: str) -> Markup:
    """A bar for each value; what is nought has none."""
    return _drawn(tuple(values), label)


@lru_cache(maxsize=1024)
def _drawn(values: tuple[int, ...], label: str) -> Markup:
    most = max(values, default=0)
    bars = [
        f"M{n * _STEP} {_HEIGHT}v-{round(_TALLEST * value / most, 1)}h{_WIDTH}V{_HEIGHT}z"
        for n, value in enumerate(values)
        if value
    ]
    width = len(values) * _STEP
    return Markup(  # noqa: S704 - numbers, and what is escaped
        f'<svg class="spark" viewBox="0 0 {width} {_HEIGHT}" preserveAspectRatio="none"'
        f' role="img" aria-label="{escape(label)}"><path d="{"".join(bars)}"/></svg>'
    )
