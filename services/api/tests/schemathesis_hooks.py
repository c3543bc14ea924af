"""For schemathesis: good requests keep to what a schema has no words for; bad ones stay."""

from typing import Any

import schemathesis

# Filters that only some tables, or only some lists, have.
_OF_ROWS = ("series", "event", "market")
_OF_EVERY_LIST = {"entity", "format", "formulas", "series", "category", "tag", "q", "games_only"}
_ID = "Last-Event-ID"
_OF_INCLUDES = {
    "/v1/series": {"fees"},
    "/v1/events": {"series", "markets", "fees"},
    "/v1/markets": {"event", "series", "lifecycle", "fees"},
}
_MARKET_DATA = ("volume", "volume_24h", "open_interest")
_OF_SERIES_ALONE = ("is_game", "active")
_OLDER = {"volume": ("min_volume",), "close_time": ("closing_after", "closing_before")}


@schemathesis.hook
def map_case(_: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    query: dict[str, Any] = case.query or {}
    if query.get("cursor"):
        # A cursor is one that the list gave out.
        del query["cursor"]
    if query.get("as_of") and case.path != "/v1/fees/{series}":
        # The record has the moment: here it has begun just now. It has no market data.
        query["as_of"] = "-0s"
        for name in [name for name in query if name.partition(".")[0] in _MARKET_DATA]:
            del query[name]
        query.pop("min_volume", None)
        if any(name in str(query.get("sort", "")) for name in _MARKET_DATA):
            del query["sort"]
        if "market_lifecycle_events" in str(query.get("tables")):
            del query["tables"]
    if query.get("known_at"):
        query["known_at"] = "-0s"
    if "price" not in query:
        # A count is of a fill, which has a price.
        query.pop("count", None)
    if _is(query, "games_only", "true") and _is(query, "is_game", "false"):
        # They contradict each other.
        del query["is_game"]
    if case.path == "/v1/export":
        # The list decides which filters there are.
        if query.get("entity", "markets") == "markets":
            unknown = {*_OF_SERIES_ALONE, "strike_date"}
        else:
            unknown = query.keys() - _OF_EVERY_LIST
        for name in [name for name in query if {name, name.partition(".")[0]} & unknown]:
            del query[name]
    if case.path in ("/v1/export", "/v1/snapshot") or query.get("table"):
        # What is listed decides which fields there are.
        query.pop("fields", None)
    if case.path in ("/v1/export", "/v1/snapshot", "/v1/changes"):
        # Something is to be left.
        query.pop("exclude", None)
    if case.path == "/v1/export":
        # So does it decide what can be included.
        query.pop("include", None)
    elif "include" in query:
        # What is included is to be left.
        query.pop("fields", None)
        query.pop("exclude", None)
        if query.get("as_of"):
            query["include"] = [name for name in _names(query["include"]) if name != "lifecycle"]
            if not query["include"]:
                del query["include"]
    elif needed := {name.partition(".")[0] for name in _shown(query)} & _OF_INCLUDES.get(
        "/".join(case.path.split("/")[:3]), set()
    ):
        # Some fields come with what is included.
        query.pop("exclude", None)
        if query.get("as_of") or "fields" not in query:
            query.pop("fields", None)
        else:
            query["include"] = sorted(needed)
    if query.get("formulas") == "neutral":
        query["format"] = "csv"
    if "sort" in query:
        # No index serves every order with every range; without them, one column at a time.
        for name in [name for name in query if "." in name or name == "min_volume"]:
            del query[name]
        first = query["sort"][0] if isinstance(query["sort"], list) else query["sort"]
        query["sort"] = str(first).partition(",")[0]
    for column in {name.partition(".")[0] for name in query if "." in name}:
        # They contradict or repeat each other, or an older name of theirs.
        asked = [name for name in query if name.partition(".")[0] == column]
        for name in (*asked[1:], *_OLDER.get(column, ())):
            query.pop(name, None)
    if query.get("trading"):
        query.pop("status", None)
    if (
        query.get("table")
        or query.get("tables")
        or (case.path == "/v1/changes" and "fields" in query)
    ):
        # So do the tables, and fields that only some tables have.
        for name in _OF_ROWS:
            query.pop(name, None)
    if "@" not in (case.headers or {}).get(_ID, "@"):
        # Here it is schemathesis that has no words for the pattern, and sends 0.
        del case.headers[_ID]
    if isinstance(case.body, dict) and case.body.get("expires_at"):
        # A key expires in the future.
        case.body["expires_at"] = "90d"
    return case


def _names(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else str(value).split(",")


def _shown(query: dict[str, Any]) -> list[str]:
    return [
        name for asked in ("fields", "exclude") if asked in query for name in _names(query[asked])
    ]


def _is(query: dict[str, Any], name: str, value: str) -> bool:
    return str(query.get(name)).lower() == value
