"""From the exchange to a subscriber: what is measured, and what is left out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ssmd_cache.follower.journey import Journey
from ssmd_cache.metrics import EXCHANGE_TO_SUBSCRIBER
from ssmd_common.health import Health
from ssmd_stream.delivery import Delivery


def message(seconds_ago: float | None, **more: Any) -> Delivery:
    sent_at = None if seconds_ago is None else datetime.now(UTC) - timedelta(seconds=seconds_ago)
    given = {
        "v": 1, "xid": 7, "table": "market_lifecycle_events", "op": "insert",
        "type": "lifecycle_recorded", "data": {"event_type": "determined", "sent_at": sent_at},
    }  # fmt: skip
    return Delivery(1, "cdc.x", msgspec.json.encode({**given, **more}), 0, 0, "")


def observed() -> float:
    return next(
        sample.value
        for family in EXCHANGE_TO_SUBSCRIBER.collect()
        for sample in family.samples
        if sample.name.endswith("_count")
    )


def test_messages_are_measured_from_the_exchanges_own_time() -> None:
    health = Health("cache")
    before = observed()
    Journey(health).saw([message(2), message(1), message(9)])
    assert observed() - before == 3
    told: Any = health.position["exchange_to_subscriber_seconds"]
    assert told["messages"] == 3
    assert 2 <= told["median"] < 9 <= told["longest"]


def test_what_says_nothing_of_the_way_is_left_out() -> None:
    health = Health("cache")
    before = observed()
    Journey(health).saw(
        [
            message(None),
            message(1, xid=None),
            message(1, op="delete"),
            message(1, table="markets", data={"title": '"market_lifecycle_events"'}),
            message(1, data={"sent_at": "infinity"}),
            message(1, data={"sent_at": "2026-11-28T19:00:00"}),
            message(1, data=None),
            Delivery(1, "cdc.x", b'"market_lifecycle_events"' + b"[" * 100_000, 0, 0, ""),
        ]
    )
    assert observed() == before
    assert health.position == {}


def test_a_clock_that_runs_ahead_measures_nothing_negative() -> None:
    health = Health("cache")
    Journey(health).saw([message(-30)])
    told: Any = health.position["exchange_to_subscriber_seconds"]
    assert told["longest"] == 0.0
