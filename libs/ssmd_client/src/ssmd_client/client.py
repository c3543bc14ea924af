"""The plain client, for notebooks and scripts: no event loop to write.

with Client("http://localhost:8080", "sk_…") as client:
    for market in client.markets(status="active", closing_before="24h"):
        print(market.ticker, market.close_time, market.yes_ask_dollars)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from ssmd_client import rows
from ssmd_client.decoding import convert_rows, decode
from ssmd_client.documents import document
from ssmd_client.errors import MarketNotFound, NotFound
from ssmd_client.fees import Fees
from ssmd_client.history import History
from ssmd_client.lists import PAGE, Rows
from ssmd_client.marketdata import MarketData
from ssmd_client.moments import Moment, spelled
from ssmd_client.retries import Retries
from ssmd_client.transport import Query, Transport, segment

T = TypeVar("T", bound=msgspec.Struct)

Status = Literal["open", "active", "closed", "settled"]
Texts = str | Sequence[str] | None
"""One, or several of which a row has one."""
Kinds = Literal["exclude", "include", "only"] | None
Where = Mapping[str, int | bool | Moment] | None
"""Ranges and nulls by the API's names (docs/api.md, "Filters in one scheme")."""


class Client:
    """One API with one key. May be used by several threads; `close` or `with` ends it.

    Of every method that reads: `as_of` is the moment whose knowledge is asked for
    (docs/history.md), `fields` and `exclude` are columns to have or to leave out (docs/api.md,
    "Fewer fields"): a row then raises `NotLoaded` for what it lacks.

    Raises, all methods: the errors of `ssmd_client.errors`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        ca_file: str | None = None,
        connections: int = 4,
    ) -> None:
        """As `Transport` says; nothing is asked yet."""
        self.transport = Transport(
            url, key, retries=retries, ca_file=ca_file, connections=connections
        )
        self.fees = Fees(self.transport)
        self.history = History(self.transport)
        self.market_data = MarketData(self.transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    # Markets.

    def markets(
        self,
        *,
        series: Texts = None,
        event: Texts = None,
        ticker: Texts = None,
        category: Texts = None,
        status: Texts = None,
        trading: bool | None = None,
        tag: Texts = None,
        closing_before: Moment = None,
        closing_after: Moment = None,
        min_volume: int | None = None,
        games_only: bool = False,
        q: str | None = None,
        multivariate: Kinds = None,
        collection: Texts = None,
        leg: str | None = None,
        where: Where = None,
        sort: str | None = None,
        limit: int | None = None,
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
    ) -> Rows[rows.ListedMarket]:
        """Markets, each with what a list says of its `event` and `series`.

        Of several values a market has one. `status` open means not yet closed, so that rows say
        open or active; `trading` is whether they say active. `sort` are columns with commas
        between, with a minus descending. `where` are ranges and nulls by the API's names:
        `{"open_interest.gte": 5, "close_time.lt": timedelta(days=7)}`. `closing_before`
        (exclusive) and `closing_after` take a time, or a duration from now: `timedelta(hours=24)`
        or `"24h"`. Multivariate markets are left out unless `multivariate` is include or only; then
        `collection` and `leg`, a market that they combine, choose of them.
        """
        query: Query = {
            "series": series,
            "event": event,
            "ticker": ticker,
            "category": category,
            "status": status,
            "trading": None if trading is None else ("yes" if trading else "no"),
            "tag": tag,
            "closing_before": spelled(closing_before),
            "closing_after": spelled(closing_after),
            "min_volume": min_volume,
            "games_only": games_only or None,
            "q": q,
            "multivariate": multivariate,
            "collection": collection,
            "leg": leg,
            "sort": sort,
            **_ranges(where),
            **_sparse(as_of, fields, exclude),
        }
        return Rows(self.transport, "markets", "markets", rows.ListedMarket, query, limit=limit)

    def market(
        self,
        ticker: str,
        *,
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
    ) -> rows.MarketDetail:
        """A market with its whole event and series; one that was removed has `deleted_at`.

        Raises:
            MarketNotFound: there is none.
        """
        try:
            return self._one(
                f"markets/{segment(ticker)}", rows.MarketDetail, as_of, fields, exclude
            )
        except NotFound as error:
            raise MarketNotFound(ticker, str(error), request_id=error.request_id) from error

    def lookup(self, tickers: Iterable[str], *, as_of: Moment = None) -> rows.Lookup:
        """Which of any number of markets exist, and in what state: asked 1,000 at a time."""
        wanted = list(dict.fromkeys(tickers))
        markets: list[rows.LookupMarket] = []
        missing: list[str] = []
        for at in range(0, len(wanted), PAGE):
            reply = self.transport.post(
                "markets/lookup", {"tickers": wanted[at : at + PAGE]}, {"as_of": spelled(as_of)}
            )
            found = decode(reply.body, rows.Lookup)
            markets += found.markets
            missing += found.missing
        return rows.Lookup(markets=markets, missing=missing)

    def lifecycle(self, ticker: str, *, limit: int | None = None) -> Rows[rows.LifecycleEvent]:
        """A market's lifecycle events in the order in which they were stored."""
        path = f"markets/{segment(ticker)}/lifecycle"
        return Rows(self.transport, path, "lifecycle", rows.LifecycleEvent, {}, limit=limit)

    # Events and series.

    def events(
        self,
        *,
        series: Texts = None,
        event: Texts = None,
        category: Texts = None,
        status: Texts = None,
        tag: Texts = None,
        closing_before: Moment = None,
        closing_after: Moment = None,
        games_only: bool = False,
        q: str | None = None,
        multivariate: Kinds = None,
        collection: Texts = None,
        where: Where = None,
        sort: str | None = None,
        limit: int | None = None,
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
    ) -> Rows[rows.ListedEvent]:
        """Events, each with its `market_count`. Filters are as of markets; of an event some market
        closes in that time."""
        query: Query = {
            "series": series,
            "event": event,
            "category": category,
            "status": status,
            "tag": tag,
            "closing_before": spelled(closing_before),
            "closing_after": spelled(closing_after),
            "games_only": games_only or None,
            "q": q,
            "multivariate": multivariate,
            "collection": collection,
            "sort": sort,
            **_ranges(where),
            **_sparse(as_of, fields, exclude),
        }
        return Rows(self.transport, "events", "events", rows.ListedEvent, query, limit=limit)

    def event(
        self,
        ticker: str,
        *,
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
    ) -> rows.EventDetail:
        """An event with its series and markets; NotFound where there is none."""
        return self._one(f"events/{segment(ticker)}", rows.EventDetail, as_of, fields, exclude)

    def collections(
        self,
        *,
        series: str | None = None,
        event: str | None = None,
        limit: int | None = None,
    ) -> Rows[rows.Collection]:
        """Collections of multivariate markets, of a series, or with an event."""
        query: Query = {"series": series, "event": event}
        path = "collections"
        return Rows(self.transport, path, path, rows.Collection, query, limit=limit)

    def collection(self, ticker: str) -> rows.Collection:
        """A collection; NotFound where there is none."""
        return self._one(f"collections/{segment(ticker)}", rows.Collection, None, None, None)

    def series_list(
        self,
        *,
        series: Texts = None,
        category: Texts = None,
        tag: Texts = None,
        is_game: bool | None = None,
        active: bool | None = None,
        q: str | None = None,
        where: Where = None,
        sort: str | None = None,
        limit: int | None = None,
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
    ) -> Rows[rows.Series]:
        """Series; `series` are tickers, and the rest is as of markets."""
        query: Query = {
            "series": series,
            "category": category,
            "tag": tag,
            "is_game": is_game,
            "active": active,
            "q": q,
            "sort": sort,
            **_ranges(where),
            **_sparse(as_of, fields, exclude),
        }
        return Rows(self.transport, "series", "series", rows.Series, query, limit=limit)

    def series(
        self,
        ticker: str,
        *,
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
    ) -> rows.SeriesDetail:
        """A series with its fee in force and counts by status; NotFound where there is none."""
        return self._one(f"series/{segment(ticker)}", rows.SeriesDetail, as_of, fields, exclude)

    # All else.

    def search(self, q: str, *, kind: Texts = None, limit: int = 20) -> list[rows.Found]:
        """Series, events and markets by words in tickers and titles, the best first; `kind` is
        series, event or market."""
        reply = self.transport.get("search", {"q": q, "kind": kind, "limit": limit})
        return decode(reply.body, _Results).results

    def export(
        self,
        to: str | Path,
        *,
        entity: Literal["markets", "events", "series"] = "markets",
        form: Literal["jsonl", "csv"] = "jsonl",
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
        **filters: Any,
    ) -> int:
        """Write every row of a list, of one state of the database, to a file; how many bytes.

        `filters` are those of the list, by their names. The file is there when all of it is: a
        reply that breaks off leaves nothing (BrokenOff).
        """
        path = Path(to)
        part = path.with_name(f".{path.name}.part")
        written = 0
        try:
            with part.open("wb") as file:
                for chunk in self.exported(
                    entity=entity, form=form, as_of=as_of, fields=fields, exclude=exclude, **filters
                ):
                    written += file.write(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return written

    def exported(
        self,
        *,
        entity: Literal["markets", "events", "series"] = "markets",
        form: Literal["jsonl", "csv"] = "jsonl",
        as_of: Moment = None,
        fields: Texts = None,
        exclude: Texts = None,
        **filters: Any,
    ) -> Iterator[bytes]:
        """The same as bytes as they come."""
        query = {
            "entity": entity,
            "format": form,
            **{name: _plain(value) for name, value in filters.items()},
            **_sparse(as_of, fields, exclude),
        }
        return self.transport.stream("export", query)

    def stats(self, of: Literal["series", "markets", "sync"], **filters: Any) -> dict[str, Any]:
        """Counts by category, series and status, or the last sync runs: the API's own document."""
        found: dict[str, Any] = self.transport.get(f"stats/{of}", filters).json()
        return found

    def status(self) -> dict[str, Any]:
        """How every service is, and of when the data are: the API's own document."""
        found: dict[str, Any] = self.transport.get("status").json()
        return found

    def _one(self, path: str, kind: type[T], as_of: Moment, fields: Texts, exclude: Texts) -> T:
        reply = self.transport.get(path, _sparse(as_of, fields, exclude))
        if fields is None and exclude is None:
            return decode(reply.body, kind)
        return convert_rows([document(reply.body)], kind)[0]


class _Results(msgspec.Struct, frozen=True):
    results: list[rows.Found]


def _sparse(as_of: Moment, fields: Texts, exclude: Texts) -> dict[str, str | None]:
    return {"as_of": spelled(as_of), "fields": _joined(fields), "exclude": _joined(exclude)}


def _ranges(where: Where) -> dict[str, Any]:
    return {name: _plain(value) for name, value in (where or {}).items()}


def _joined(names: Texts) -> str | None:
    return names if names is None or isinstance(names, str) else ",".join(names)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, list, tuple)) else spelled(value)
