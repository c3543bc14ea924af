"""What a count says of a session, without servers."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ssmd_connector.capture import Capture
from ssmd_kalshi.feed import Connected

START = datetime(2026, 11, 29, tzinfo=UTC)


class NoNames:
    def of(self, ticker: str) -> tuple[str | None, str | None]:
        return None, None


@dataclass
class Socket:
    heard_until: datetime | None
    late: timedelta


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def counted(capture: Capture, at: datetime) -> datetime | None:
    until = json.loads(capture.count(at).payload).get("until")
    return None if until is None else datetime.fromisoformat(until)


def test_a_count_leaves_out_what_may_wait_behind_what_was_late() -> None:
    capture = Capture("0", NoNames())
    assert counted(capture, after(0)) is None
    capture.take(Connected(after(0)))
    capture.socket = socket = Socket(after(10), timedelta(seconds=4))
    assert counted(capture, after(11)) == after(6)
    socket.heard_until, socket.late = None, timedelta(seconds=9)
    assert counted(capture, after(12)) == after(6), "what was heard stays heard"
    socket.heard_until, socket.late = after(20), timedelta(0)
    assert counted(capture, after(15)) == after(15), "nothing is known of what is to come"
    capture.take(Connected(after(30)))
    socket.heard_until, socket.late = None, timedelta(seconds=3)
    assert counted(capture, after(31)) == after(30), "another connection"
