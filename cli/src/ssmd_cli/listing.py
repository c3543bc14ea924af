"""A list of the API on the screen: once, or again and again."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ssmd_cli import output
from ssmd_cli.output import Format
from ssmd_common.errors import ConfigurationError

#: The column that tells rows of a list apart.
KEYS: Final = {"markets": "ticker", "series": "ticker", "events": "event_ticker"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the API is shown, and how.

    `columns` are those of a table where `fields` names no others; `limit` 0 is every row; `watch`
    are the seconds between two looks, None for one look.
    """

    path: str
    query: Mapping[str, Any]
    columns: tuple[str, ...]
    style: Format
    limit: int = 100
    fields: str | None = None
    watch: float | None = None
    environment: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns to show."""
        return names_in(self.fields) or self.columns

    @property
    def full_query(self) -> dict[str, Any]:
        """With the columns to ask for, where there is a choice."""
        names = names_in(self.fields)
        key = KEYS[self.path]
        # A watch tells rows apart by their key, whatever is shown of them.
        asked = [*names, *([key] if names and self.watch and key not in names else [])]
        return {**self.query, "fields": ",".join(asked) or None}


def names_in(fields: str | None) -> tuple[str, ...]:
    """The names in `a,b.c`.

    Raises:
        ConfigurationError: it holds none.
    """
    if fields is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in fields.split(",") if name.strip()))
    if not names:
        raise ConfigurationError("--fields: names no column, such as ticker,close_time")
    return names


def show(asked: Asked) -> None:
    """Print the list; what matches nothing is named on stderr."""
    from ssmd_cli.api import connect

    is_parquet = asked.style is Format.PARQUET
    if is_parquet and asked.watch is None:
        from ssmd_cli.parquet import check_place

        check_place(None)
    with connect(asked.environment) as api:
        if asked.watch is not None:
            _watch(api, asked)
            return
        whole, more = api.whole(asked.path, asked.full_query, asked.limit or None)
        found = whole[asked.path]
        if is_parquet:
            from ssmd_cli.parquet import write

            write(found, asked.path, sys.stdout.buffer)
        else:
            output.rows(found, asked.names, asked.style, only=asked.fields is not None)
        if (count := whole.get("count")) is not None:
            output.note(f"{count} in all" if asked.query["count"] == "exact" else f"about {count}")
        if more:
            output.note(f"there are more than {asked.limit}: see --limit")
        if not found:
            from ssmd_cli.unmatched import unmatched

            names = (asked.query.get(name) or () for name in ("category", "tag", "series"))
            for sentence in unmatched(api, *names):
                output.note(sentence)


def _watch(api: Any, asked: Asked) -> None:
    assert asked.watch is not None
    if asked.style is Format.JSONL:
        watch_lines(api, asked)
        return
    if asked.style is not Format.TABLE or not sys.stdout.isatty():
        raise ConfigurationError(
            "--watch: needs a terminal, or --output jsonl, which writes rows that are new or "
            "changed"
        )
    from ssmd_cli.screen import Screen

    before: dict[str, Any] | None = None
    with Screen() as screen:
        while True:
            found, more = api.rows(asked.path, asked.full_query, asked.limit or None)
            now = _by_key(asked, found)
            screen.show(_picture(asked, found, before, screen.size, more=more))
            before = now
            if screen.waits(asked.watch):
                return


def watch_lines(api: Any, asked: Asked) -> None:
    """Each row when it is new in the list or differs from before, a line of JSON."""
    before: dict[str, Any] = {}
    while True:
        found, _ = api.rows(asked.path, asked.full_query, asked.limit or None)
        now = _by_key(asked, found)
        for key, row in now.items():
            if before.get(key) != row:
                sys.stdout.write(output.encode(row) + "\n")
        sys.stdout.flush()
        before = now
        time.sleep(asked.watch or 1.0)


def _by_key(asked: Asked, found: Sequence[Any]) -> dict[str, Any]:
    key = KEYS[asked.path]
    return {str(row[key]): row for row in found}


def _picture(
    asked: Asked,
    found: Sequence[Any],
    before: Mapping[str, Any] | None,
    size: tuple[int, int],
    *,
    more: bool,
) -> list[str]:
    """The table below a line that says when it was; what is new or changed stands bold."""
    from ssmd_cli.table import draw

    width, height = size
    shown = found[: max(1, height - 2)]
    drawn = draw(output.columns_of(shown, asked.names, width), width)
    head = f"{time.strftime('%H:%M:%S', time.gmtime())} UTC · {len(found)} {asked.path}"
    head += " and more" if more else ""
    head += f" · every {asked.watch:g} s · q ends"
    lines = [head[:width], *drawn.lines[:1]]
    key = KEYS[asked.path]
    for row, line in zip(shown, drawn.lines[1:], strict=True):
        changed = before is not None and before.get(str(row[key])) != row
        lines.append(f"\x1b[1m{line}\x1b[0m" if changed else line)
    return lines
