"""What `ssmd top` knows: changes as they come, and what the API says every few seconds."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ssmd_cli.api import HURRIED, Api, connect
from ssmd_cli.exporting import lines_of
from ssmd_cli.rates import Rates
from ssmd_common.errors import SsmdError

#: What tells which category a change belongs to; the less is asked for, the less travels.
_FIELDS: Final = "ticker,event_ticker,series_ticker,market_ticker,category,tier"
_CLOSING_FIELDS: Final = "ticker,close_time,status,yes_bid_dollars,yes_ask_dollars,title"
_NO_CATEGORY: Final = "(none)"
_CLOSING: Final = 20


class Change(msgspec.Struct):
    """What is read of a message of the stream."""

    type: str
    table: str
    data: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    key: dict[str, Any] | None = None


@dataclass(slots=True)
class Known:
    """Filled by the feed's threads, read by whoever draws. Holds `lock` for more than one look."""

    types: Rates
    categories: Rates
    closing: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    follows: bool = False
    problem: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Feed:
    """Two threads: one follows changes, one asks for the rest. They end with the program."""

    def __init__(self, environment: str | None, every_seconds: float) -> None:
        now = time.monotonic()
        self.known = Known(Rates(now), Rates(now))
        self._environment = environment
        self._every = every_seconds
        self._category_of: dict[str, str] = {}

    def start(self) -> str:
        """Ask once, so that whatever is wrong is said before the picture; the API's URL.

        Raises:
            SsmdError: the API does not answer, or refuses.
        """
        with connect(self._environment) as api:
            self._read_categories(api)
            self._ask(api)
            url = api.place.url
        for name, work in (("follow", self._follow), ("ask", self._keep_asking)):
            threading.Thread(target=work, name=f"ssmd-top-{name}", daemon=True).start()
        return url

    def _read_categories(self, api: Api) -> None:
        query = {"entity": "series", "format": "jsonl", "fields": "ticker,category"}
        for line in lines_of(api.stream("export", query)):
            row = msgspec.json.decode(line)
            self._category_of[row["ticker"]] = row["category"] or _NO_CATEGORY

    def _ask(self, api: Api) -> None:
        closing = api.get(
            "markets",
            {
                "status": "open",
                "closing_after": "0s",
                "sort": "close_time",
                "limit": _CLOSING,
                "fields": _CLOSING_FIELDS,
            },
        )["markets"]
        status = api.get("status")
        with self.known.lock:
            self.known.closing, self.known.status, self.known.problem = closing, status, ""

    def _keep_asking(self) -> None:
        while True:
            time.sleep(self._every)
            try:
                with connect(self._environment, HURRIED) as api:
                    self._ask(api)
            except SsmdError as error:
                with self.known.lock:
                    self.known.problem = str(error)

    def _follow(self) -> None:
        while True:
            try:
                with connect(self._environment, HURRIED) as api:
                    chunks = api.stream("changes", {"fields": _FIELDS})
                    for document in data_of(chunks, self._heard):
                        self._take(document)
            except SsmdError:
                # The other thread says what is wrong; a stream that just ended begins again.
                pass
            self.known.follows = False
            time.sleep(0.5)

    def _heard(self) -> None:
        self.known.follows = True

    def _take(self, document: bytes) -> None:
        try:
            change = msgspec.json.decode(document, type=Change)
        except msgspec.MsgspecError:
            # A message that nobody can read has another shape.
            change = Change("unreadable", "")
        now = time.monotonic()
        category = self._category(change)
        with self.known.lock:
            self.known.types.add(change.type, now)
            self.known.categories.add(category, now)

    def _category(self, change: Change) -> str:
        row = change.data or change.before or change.key or {}
        own = row.get("category")
        if change.table == "series":
            if own and row.get("ticker"):
                self._category_of[row["ticker"]] = own
            return str(own or _NO_CATEGORY)
        series = row.get("series_ticker")
        if series is None and (name := row.get("market_ticker") or row.get("event_ticker")):
            # The log names no series: a ticker begins with that of its series.
            series = str(name).partition("-")[0]
        return str(own or self._category_of.get(series or "", _NO_CATEGORY))


def data_of(chunks: Iterable[bytes], heard: Callable[[], None]) -> Iterator[bytes]:
    """The data of server-sent events, each of one line; `heard` is called for whatever comes."""
    for line in lines_of(chunks):
        heard()
        if line.startswith(b"data: "):
            yield line[6:].rstrip(b"\r")
