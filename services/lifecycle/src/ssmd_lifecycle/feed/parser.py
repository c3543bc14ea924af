"""The parser: whatever the socket yields becomes a `LifecycleMessage`. Pure."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ssmd_common.tickers import is_multivariate
from ssmd_kalshi import lenient
from ssmd_kalshi.errors import BrokenReplyError
from ssmd_kalshi.feed import Message, Unreadable
from ssmd_kalshi.frames import decode_frame
from ssmd_kalshi.unread import MAX_JSON_BYTES
from ssmd_lifecycle import dedupe
from ssmd_lifecycle.feed import fields
from ssmd_lifecycle.feed.bodies import parse_body
from ssmd_lifecycle.feed.messages import (
    MAX_TYPE_CHARACTERS,
    MULTIVARIATE_CHANNEL,
    Kind,
    LifecycleMessage,
    MalformedMessage,
    Parsed,
)
from ssmd_lifecycle.feed.storable import is_suspicious, storable


def parse_message(message: Message, *, multivariate: bool = False) -> LifecycleMessage:
    """Parse one message of the socket; never raises for what the exchange says.

    `multivariate` tells that it came on the multivariate channel. What is about multivariate
    markets is only kept, on whatever channel.
    """
    kind, body, whole = _storable(message)
    only_kept = multivariate or kind == MULTIVARIATE_CHANNEL
    fault = None
    try:
        parsed = parse_body(kind, body)
    except MalformedMessage as error:
        fault = str(error)
        parsed = Parsed(
            kind=Kind.UNKNOWN,
            market_ticker=_ticker(body.get("market_ticker")),
            event_ticker=_ticker(body.get("event_ticker")),
        )
    about = parsed.market_ticker or parsed.event_ticker or ""
    sent_ms = None if message.sent_at is None else round(message.sent_at.timestamp() * 1000)
    event_type = body.get("event_type")
    if not isinstance(event_type, str) or not event_type:
        event_type = kind
    return LifecycleMessage(
        kind=parsed.kind,
        event_type=event_type[:MAX_TYPE_CHARACTERS],
        market_ticker=parsed.market_ticker,
        event_ticker=parsed.event_ticker,
        series_ticker=parsed.series_ticker,
        sent_at=message.sent_at,
        received_at=message.received_at,
        seq=message.seq,
        columns=parsed.columns,
        whole=whole,
        dedupe_key=dedupe.dedupe_key(kind, body, sent_ms, message.received_at),
        content_key=dedupe.content_key(kind, body),
        applies=fault is None and not only_kept and not is_multivariate(about),
        fault=fault,
        times=parsed.times,
        rejected=parsed.rejected,
    )


def parse_unreadable(frame: Unreadable) -> LifecycleMessage:
    """A frame that is none of the exchange's, as text: it is kept, not applied."""
    text = frame.raw[:MAX_JSON_BYTES].decode("utf-8", "backslashreplace")
    body = {"unreadable": text.replace("\x00", "\\u0000")}
    return LifecycleMessage(
        kind=Kind.UNKNOWN,
        event_type="unreadable",
        received_at=frame.received_at,
        whole=msgspec.json.encode(body).decode(),
        dedupe_key=dedupe.dedupe_key("unreadable", body, None, frame.received_at),
        content_key=dedupe.content_key("unreadable", body),
        applies=False,
        fault=frame.reason,
    )


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def parse_stored(
    metadata: bytes, sent_at: datetime | None, received_at: datetime | None, dedupe_key: str
) -> LifecycleMessage | None:
    """A message again from its row; None for a row that never was a message, as the clock's.

    Where neither time could be read it outweighs nothing.
    """
    try:
        frame = decode_frame(metadata)
    except BrokenReplyError:
        return None
    message = parse_message(
        Message(
            type=frame.type,
            sid=None,
            seq=frame.seq,
            sent_at=sent_at,
            msg=frame.body,
            raw=metadata,
            received_at=received_at or sent_at or _LONG_AGO,
            document=frame.document,
        )
    )
    return replace(message, dedupe_key=dedupe_key)


def content_key_of(metadata: str) -> str | None:
    """The content key of a stored message; None where it has no body."""
    try:
        frame = decode_frame(metadata.encode())
    except BrokenReplyError:
        return None
    return dedupe.content_key(frame.type, frame.body)


def _storable(message: Message) -> tuple[str, dict[str, Any], str]:
    """The type, the body and the whole message as JSON, without what PostgreSQL cannot hold."""
    if message.document is None and not is_suspicious(message.raw):
        return message.type, message.msg, str(message.raw, "utf-8")
    # Read anew, because what is nested too deeply must be left out before anything walks through.
    given = message.document or lenient.loads(message.raw)
    document = storable(given)
    if document == given and message.document is None:
        return message.type, message.msg, str(message.raw, "utf-8")
    kind, body = document.get("type"), document.get("msg")
    return (
        kind if isinstance(kind, str) else "unreadable",
        body if isinstance(body, dict) else {},
        msgspec.json.encode(document).decode(),
    )


def _ticker(value: object) -> str | None:
    try:
        return fields.ticker(value)
    except ValueError:
        return None
