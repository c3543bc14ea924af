"""What the stream should hold, judged by what the exchange said and by the records alone."""

import json
from collections.abc import Iterable
from datetime import datetime

from ssmd_stream.market.coverage import Coverage, State
from ssmd_stream.market.messages import Message, SessionRecord, TickerMessage, TradeMessage
from ssmd_stream.market.timeline import Span as Stretch

from .conftest import Market

Span = tuple[float, float]


def each_once_and_in_order(stored: list[Message]) -> None:
    heard = [m for m in stored if not isinstance(m, SessionRecord)]
    assert len({m.id for m in heard}) == len(heard)
    trades = [m.trade_id for m in stored if isinstance(m, TradeMessage)]
    assert len(set(trades)) == len(trades)
    last: dict[str, int] = {}
    for message in heard:
        assert message.frame > last.get(message.session, 0)
        last[message.session] = message.frame


def as_it_was_said(market: Market, stored: list[Message]) -> None:
    said = {json.dumps(frame["msg"], sort_keys=True) for frame in market.sent if "msg" in frame}
    for message in stored:
        if isinstance(message, TradeMessage | TickerMessage) and message.source == "ws":
            assert json.dumps(json.loads(bytes(message.msg)), sort_keys=True) in said


def quotes_lost(market: Market, stored: list[Message], began: float) -> list[float]:
    """When those were said that the stream does not have."""
    have = {bytes(m.msg) for m in stored if isinstance(m, TickerMessage)}
    found = {json.dumps(json.loads(one), sort_keys=True) for one in have}
    return [
        frame["msg"]["ts_ms"] / 1000
        for frame in market.sent
        if frame["type"] == "ticker"
        and frame["msg"]["ts_ms"] / 1000 >= began
        and json.dumps(frame["msg"], sort_keys=True) not in found
    ]


def holes(stored: list[Message]) -> list[Span]:
    """When quotes may be missing, from the records alone: the gaps, and where no session was whole.

    A session is whole from its takeover's `since`, or the end of its first gap, up to what its last
    count says was heard.
    """
    spans: dict[str, Span] = {}
    found: list[Span] = []
    for record in stored:
        if not isinstance(record, SessionRecord):
            continue
        begins = None
        if record.what == "takeover":
            begins = record.since
        elif record.what == "gap" and record.of_channel == "ticker":
            begins = record.until
            if record.since is not None and record.until is not None:
                found.append((seconds(record.since), seconds(record.until)))
        first, last = spans.get(record.session, (float("inf"), 0.0))
        if begins is not None:
            first = min(first, seconds(begins))
        if record.what == "count" and record.until is not None:
            last = max(last, seconds(record.until))
        spans[record.session] = (first, last)
    reached = None
    for first, last in sorted(spans.values()):
        if reached is not None and first > reached:
            found.append((reached, first))
        reached = last if reached is None else max(reached, last)
    # Bounds of a gap are times of arrival, and a busy machine hears late.
    late = latest(stored)
    return [(a - late, b) for a, b in found]


def latest(stored: list[Message]) -> float:
    """How many seconds after it was said a quote arrived, at worst."""
    return max(
        seconds(m.received_at) - seconds(m.exchange_time)
        for m in stored
        if isinstance(m, TickerMessage) and m.exchange_time
    )


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def believed_complete(
    stored: list[Message], channel: str, moments: Iterable[float], until: float
) -> list[float]:
    """Of these moments those of which the records say that nothing of the channel is missing.

    A message comes as much later than it was said as the latest one did, at worst: of the time
    from then on as long there has to be something else than complete.
    """
    coverage = Coverage()
    for record in stored:
        if isinstance(record, SessionRecord):
            coverage.take(record)
    first = min(seconds(m.received_at) for m in stored)
    line = coverage.timeline(channel, None, Stretch(int(first * 1e6), int(until * 1e6)))
    doubtful = [one for one in line.intervals() if one.state != State.COMPLETE]
    late = latest(stored)
    return [
        at
        for at in moments
        if not any(a.since <= (at + late) * 1e6 and a.until >= at * 1e6 for a in doubtful)
    ]
