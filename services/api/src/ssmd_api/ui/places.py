"""Addresses of pages: the whole state of a page stands in its query. Pure."""

from collections.abc import Iterable
from urllib.parse import quote

from multidict import MultiDict, MultiMapping
from yarl import URL

OF_PAGES = ("unit",)
"""What says how pages look, and nothing to the API's modules."""


def given(query: MultiMapping[str], *but: str) -> MultiDict[str]:
    """What a form says: fields that were left empty ask for nothing."""
    hidden = {*OF_PAGES, *but}
    return MultiDict(
        (name, value) for name, value in query.items() if value != "" and name not in hidden
    )


def address(path: str, query: MultiMapping[str]) -> str:
    return str(URL(path).with_query(MultiDict(query))) if query else path


def changed(path: str, query: MultiMapping[str], **values: str | None) -> str:
    """The same page with some fields different; None leaves a field out."""
    kept: MultiDict[str] = MultiDict((n, v) for n, v in query.items() if n not in values)
    kept.extend({name: value for name, value in values.items() if value is not None})
    return address(path, kept)


def of(kind: str, ticker: str, as_of: str | None = None) -> str:
    """The page of a market, an event or a series; of the moment that the reader is at."""
    name = kind if kind == "series" else f"{kind}s"
    return f"/ui/{name}/{quote(ticker, safe='')}{_at(as_of)}"


def page(path: str, as_of: str | None = None) -> str:
    if not as_of:
        return path
    return f"{path}{'&' if '?' in path else '?'}{_at(as_of)[1:]}"


def _at(as_of: str | None) -> str:
    return f"?as_of={quote(as_of, safe='')}" if as_of else ""


def safe(path: str) -> str:
    """A place to go to after a login: a page of ours, or the first one."""
    inside = path == "/ui" or path.startswith(("/ui/", "/ui?"))
    return path if inside and path.isprintable() and "\\" not in path else "/ui"


def has(query: MultiMapping[str], names: Iterable[str]) -> bool:
    return any(name in query for name in names)
