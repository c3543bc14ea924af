"""Serves recorded replies and frames as they are, from a directory of recordings.

`*_response.json` holds `{"_metadata": {"endpoint": …}, "response": …}`; `*.jsonl` holds frames, one
a line. The first page of a listing is the recorded one, byte values and cursor included; its cursor
leads to a last page with whatever other recordings know of the same kind.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from ssmd_simulator.messages import LIFECYCLE, MULTIVARIATE
from ssmd_simulator.replies import PREFIX, encoded

_FIXED = {
    "exchange_schedule": "/exchange/schedule",
    "exchange_status": "/exchange/status",
    "filters_by_sport": "/search/filters_by_sport",
    "tags_by_categories": "/search/tags_by_categories",
    "series_fee_changes": "/series/fee_changes",
    "multivariate_event_collections_list": "/multivariate_event_collections",
    "historical_cutoff": "/historical/cutoff",
}
_LISTS = {
    "series_list": ("/series", "series"),
    "events_list": ("/events", "events"),
    "events_multivariate_list": ("/events/multivariate", "events"),
    "markets_list": ("/markets", "markets"),
}
_KEYS = {"series": "ticker", "events": "event_ticker", "markets": "ticker"}


class NoRecordings(FileNotFoundError):
    """The directory holds no recorded replies."""


class Recording(msgspec.Struct):
    """One recorded reply."""

    endpoint: str
    metadata: dict[str, Any]
    response: dict[str, Any]


def recordings(directory: Path) -> list[Recording]:
    """The recorded replies of a directory; raises NoRecordings if there is none."""
    found = []
    for path in sorted(directory.glob("*_response.json")):
        raw = msgspec.json.decode(path.read_bytes())
        metadata = raw.get("_metadata", {})
        endpoint = metadata.get("endpoint") or path.name.removesuffix("_response.json")
        found.append(Recording(endpoint, metadata, raw["response"]))
    if not found:
        raise NoRecordings(f"there is no *_response.json in {directory}")
    return found


def frames(directory: Path) -> dict[str, list[bytes]]:
    """The recorded frames of a directory by channel, as they are."""
    by_channel: dict[str, list[bytes]] = {LIFECYCLE: [], MULTIVARIATE: []}
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            if line.strip():
                kind = msgspec.json.decode(line).get("type")
                by_channel[MULTIVARIATE if kind == MULTIVARIATE else LIFECYCLE].append(line)
    return by_channel


class Replay:
    """The REST side of a replay."""

    def __init__(self, directory: Path) -> None:
        self._fixed: dict[str, dict[str, Any]] = {}
        self._lists: dict[str, Recording] = {}
        self._known: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KEYS}
        self._singles: dict[str, dict[str, Any]] = {}
        self._combos: set[str] = set()
        for recording in recordings(directory):
            self._take(recording)

    def routes(self) -> list[web.RouteDef]:
        """Everything under the exchange's prefix."""
        return [web.get(PREFIX + "/{path:.*}", self._handle)]

    def _take(self, recording: Recording) -> None:
        endpoint, response = recording.endpoint, recording.response
        if endpoint in _FIXED:
            self._fixed[_FIXED[endpoint]] = response
        elif endpoint in _LISTS:
            self._lists[_LISTS[endpoint][0]] = recording
        else:
            for kind, one in (("series", "series"), ("events", "event"), ("markets", "market")):
                if endpoint.startswith(one) and one in response:
                    ticker = response[one][_KEYS[kind]]
                    self._singles[f"/{kind}/{ticker}"] = response
        for kind, item in _items(response):
            self._known[kind].setdefault(item[_KEYS[kind]], item)
            if kind == "events" and "multivariate" in endpoint:
                self._combos.add(item[_KEYS[kind]])

    async def _handle(self, request: web.Request) -> web.Response:
        path = "/" + request.match_info["path"]
        if path in self._fixed:
            return encoded(self._fixed[path])
        if path in self._singles:
            return encoded(self._singles[path])
        for listing, key in _LISTS.values():
            if path == listing and (path in self._lists or key == "markets"):
                return encoded(self._page(path, key, dict(request.query)))
        kind, _, ticker = path[1:].partition("/")
        item = self._known.get(kind, {}).get(ticker)
        if item is None:
            # Nothing is made up: what was not recorded is not there.
            return encoded({"error": {"code": "not_found", "message": "not found"}}, 404)
        one = {"series": "series", "events": "event", "markets": "market"}[kind]
        extra: dict[str, Any] = {"markets": []} if kind == "events" else {}
        return encoded({one: item, **extra})

    def _page(self, path: str, key: str, query: dict[str, str]) -> dict[str, Any]:
        recording = self._lists.get(path)
        named = {name: query[name] for name in ("event_ticker", "series_ticker") if query.get(name)}
        if query.get("tickers") or named:
            tickers = set(query.get("tickers", "").split(",")) - {""}
            chosen = [
                item
                for ticker, item in self._known[key].items()
                if (not tickers or ticker in tickers)
                and all(item.get(name) == value for name, value in named.items())
            ]
            return {key: chosen, "cursor": ""}
        if recording is None or self._is_other(recording, query):
            return {key: [], "cursor": ""}
        if not query.get("cursor"):
            return recording.response
        # Multivariate events have a listing of their own, which ends here.
        listed = {item[_KEYS[key]] for item in recording.response[key]} | self._combos
        rest = [item for ticker, item in self._known[key].items() if ticker not in listed]
        return {key: [] if path == "/events/multivariate" else rest, "cursor": ""}

    def _is_other(self, recording: Recording, query: dict[str, str]) -> bool:
        """Whether the query asks for a status or category that was not the recorded one."""
        asked = {name: query[name] for name in ("status", "category") if query.get(name)}
        return any(recording.metadata.get(name, value) != value for name, value in asked.items())


def _items(response: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in ("series", "event", "market"):
        if isinstance(response.get(key), dict):
            yield {"series": "series", "event": "events", "market": "markets"}[key], response[key]
    for key in ("series", "events", "markets"):
        if isinstance(response.get(key), list):
            for item in response[key]:
                yield key, item
                for market in item.get("markets", ()):
                    yield "markets", market
