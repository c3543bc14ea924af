"""What a shell may complete: names that the API knows, whatever the case of what was typed. Nothing
where it does not answer."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from ssmd_cli.api import Api

T = TypeVar("T")

_MOST: Final = 50


class Chosen(str):
    """A candidate whatever its case: typer drops those that do not begin just as was typed."""

    __slots__ = ()

    def startswith(self, *_: object) -> bool:
        """It does."""
        return True


def series(incomplete: str) -> list[tuple[str, str]]:
    """Series whose tickers begin so, with their titles; without a beginning, the largest."""
    return _asked(lambda api: _tickers(api, incomplete, "series"))


def tickers(incomplete: str) -> list[tuple[str, str]]:
    """Series, events and markets whose tickers begin so."""
    return _asked(lambda api: _tickers(api, incomplete, None))


def categories(incomplete: str) -> list[str]:
    """Categories of series that begin so."""
    return _asked(lambda api: _categories(api, incomplete.casefold()))


def profiles(incomplete: str) -> list[str]:
    """Names of profiles."""
    from ssmd_cli.profiles import read_profiles

    with contextlib.suppress(Exception):
        return [name for name in read_profiles().profiles if name.startswith(incomplete)]
    return []


def series_after_profile(incomplete: str) -> list[str | tuple[str, str]]:
    """A series, or the profile before it."""
    return [*profiles(incomplete), *series(incomplete)]


def ticker_after_profile(incomplete: str) -> list[str | tuple[str, str]]:
    """What has a ticker, or the profile before it."""
    return [*profiles(incomplete), *tickers(incomplete)]


def _categories(api: "Api", begins: str) -> list[str]:
    rows = api.get("stats/series")["by_category"]
    names = [row["category"] for row in rows if row["category"]]
    return [Chosen(name) for name in names if name.casefold().startswith(begins)]


def _tickers(api: "Api", begins: str, kind: str | None) -> list[tuple[str, str]]:
    if begins:
        found = api.get("search", {"q": begins, "kind": kind, "limit": _MOST})["results"]
    else:
        found = api.get("series", {"sort": "-volume", "limit": _MOST})["series"]
    wanted = begins.upper()
    return [
        (Chosen(row["ticker"]), row["title"] or "")
        for row in found
        if row["ticker"].upper().startswith(wanted)
    ]


def _asked(work: "Callable[[Api], list[T]]") -> list[T]:
    """A shell that waits for a completion hears of no error."""
    from ssmd_cli.environment import load_env_file

    with contextlib.suppress(Exception):
        from ssmd_cli.api import HURRIED, connect

        load_env_file()
        with connect(retries=HURRIED) as api:
            return work(api)
    return []
