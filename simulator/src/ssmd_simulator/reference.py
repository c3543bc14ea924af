"""Replies that do not depend on the universe: tags, sports, schedule, status."""

from typing import Any

from ssmd_simulator.vocabulary import LEAGUES, TAGS


def status(*, trading: bool) -> dict[str, Any]:
    """The exchange's status; it stays up while trading rests."""
    up = {
        "exchange_active": True,
        "trading_active": trading,
        "intra_exchange_transfers_active": True,
    }
    shard = {"exchange_index": 0, "description": "default", **up}
    return {**up, "exchange_estimated_resume_time": None, "exchange_index_statuses": [shard]}


def tags_by_categories() -> dict[str, list[str] | None]:
    """Each category's tags; null where it has none."""
    return {category: list(tags) if tags else None for category, tags in TAGS.items()}


def filters_by_sport() -> dict[str, Any]:
    """Scopes and competitions of each sport, and the order to show them in."""
    sports: dict[str, Any] = {
        "All sports": {"scopes": ["Games", "Futures", "Awards", "Events"], "competitions": {}}
    }
    for _, league, sport in LEAGUES:
        filters = sports.setdefault(
            sport, {"scopes": ["Games", "Futures", "Events"], "competitions": {}}
        )
        filters["competitions"][league] = {"scopes": ["Games", "Futures", "Events"]}
    return {"filters_by_sports": sports, "sport_ordering": list(sports)}


def schedule() -> dict[str, Any]:
    """Open around the clock but for Thursdays 03:00 to 05:00 Eastern."""
    always = [{"open_time": "00:00", "close_time": "00:00"}]
    days = ("monday", "tuesday", "wednesday", "friday", "saturday", "sunday")
    week: dict[str, Any] = dict.fromkeys(days, always)
    week["thursday"] = [
        {"open_time": "00:00", "close_time": "03:00"},
        {"open_time": "05:00", "close_time": "00:00"},
    ]
    week["start_time"] = "2024-12-01T00:00:00Z"
    week["end_time"] = "2200-12-01T00:00:00Z"
    return {"schedule": {"standard_hours": [week], "maintenance_windows": []}}
