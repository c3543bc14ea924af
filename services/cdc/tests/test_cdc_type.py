"""The `type` of a message, and its precedence."""

import pytest

from ssmd_cdc.encode import changetype


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, "updated"),
        ({"status": "open"}, {"status": "active"}, "activated"),
        ({"status": "active"}, {"status": "active"}, "updated"),
        ({"status": "active"}, {"status": "closed"}, "closed"),
        ({"status": "closed"}, {"status": "settled"}, "settled"),
        ({"status": "closed"}, {"status": "closed", "result": "yes"}, "determined"),
        ({"status": "closed", "result": ""}, {"status": "closed", "result": "no"}, "determined"),
        ({"result": "yes"}, {"result": "no"}, "updated"),
        ({"exchange_status": "closed"}, {"exchange_status": "determined"}, "determined"),
        ({"exchange_status": "determined"}, {"exchange_status": "determined"}, "updated"),
        # One update may do several things; the first in the order of precedence names it.
        ({"status": "active"}, {"status": "closed", "result": "yes"}, "determined"),
        ({"status": "active"}, {"status": "settled", "result": "yes"}, "settled"),
        ({"status": "active"}, {"status": "settled", "deleted_at": "now"}, "removed"),
        ({"deleted_at": "then", "status": "open"}, {"status": "active"}, "added"),
        ({"deleted_at": "then"}, {"deleted_at": "now"}, "updated"),
    ],
)
def test_markets(old: dict[str, str], new: dict[str, str], expected: str) -> None:
    def row(values: dict[str, str]) -> dict[str, bytes | None]:
        return {name: value.encode() for name, value in values.items()}

    assert changetype.updated("markets", row(old), row(new)) == f"market_{expected}"


def test_events_have_no_activation_and_no_determination() -> None:
    assert changetype.updated("events", {"status": b"x"}, {"status": b"closed"}) == "event_closed"
    assert changetype.updated("events", {"status": b"x"}, {"status": b"settled"}) == "event_settled"
    assert changetype.updated("events", {}, {"status": b"open"}) == "event_updated"


def test_the_other_tables() -> None:
    assert changetype.inserted("series", False) == "series_added"
    assert changetype.updated("series", {}, {}) == "series_updated"
    assert changetype.removed("series") == "series_removed"
    assert changetype.inserted("markets", True) == "market_removed"
    for function in (lambda t: changetype.inserted(t, False), changetype.removed):
        assert function("fees") == "fee_changed"
        assert function("series_fees") == "fee_changed"
        assert function("market_lifecycle_events") == "lifecycle_recorded"
    assert changetype.updated("fees", {}, {}) == "fee_changed"
    assert changetype.inserted("teams", False) == "teams_added"
    assert changetype.inserted("odd.na\r\nme", False) == "odd_na__me_added"
