"""What a message's headers and subject said, told from the message itself. Pure.

The archive keeps neither: a publisher of ours makes both from what the message says.
"""

from typing import Any, Final

import msgspec

from ssmd_archive.layout import OTHER, Layout
from ssmd_stream import subjects as changes
from ssmd_stream.market import subjects as market

_ROW_OPS: Final = ("insert", "update", "delete")


class _Market(msgspec.Struct, gc=False):
    session: str
    frame: int
    connector: str
    n: int | None = None
    series: str | None = None
    event: str | None = None
    ticker: str | None = None


class _Change(msgspec.Struct, gc=False):
    epoch: int
    lsn: str
    seq: int
    table: str
    op: str
    key: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    before: dict[str, Any] | None = None


class _Place(msgspec.Struct, gc=False):
    epoch: int
    lsn: str
    seq: int


_market: Final = msgspec.json.Decoder(_Market).decode
_change: Final = msgspec.json.Decoder(_Change).decode
_place: Final = msgspec.json.Decoder(_Place).decode


def id_of(layout: Layout, folder: str, payload: bytes) -> str | None:
    """The message's `Nats-Msg-Id`; None of a message that no publisher of ours made."""
    if folder == OTHER:
        return None
    try:
        if layout.has_states:
            place = _place(payload)
            return f"{place.epoch}:{place.lsn}:{place.seq}"
        said = _market(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return f"{said.session}.{said.frame}" if said.n is None else f"{said.session}.r{said.n}"


def subject_of(layout: Layout, folder: str, payload: bytes) -> str | None:
    """Its subject; None as above. Of a change whose row could not be carried only the key is known:
    what the subject said beside it is `_`.
    """
    if folder == OTHER:
        return None
    try:
        return _of_change(payload) if layout.has_states else _of_market(layout, folder, payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _of_change(payload: bytes) -> str:
    said = _change(payload)
    if said.op not in _ROW_OPS:
        return changes.table_subject(said.table, said.op)
    row = said.data or said.before or said.key
    if row is None:
        return changes.unreadable_subject(said.table, said.op)
    return changes.subject(said.table, said.op, row)


def _of_market(layout: Layout, folder: str, payload: bytes) -> str | None:
    said = _market(payload)
    shard = layout.shard
    match folder:
        case "trade" if said.ticker is not None:
            return market.trade(said.series, said.event, said.ticker)
        case "ticker" if said.ticker is not None:
            return market.ticker(said.series, said.event, said.ticker)
        case "book" if said.ticker is not None and shard is not None:
            return market.book(shard, said.series, said.event, said.ticker)
        case "session":
            return market.session(said.connector)
        case "unreadable":
            return market.unreadable(said.connector)
        case "books_session" if shard is not None:
            return market.books_session(shard, said.connector)
        case "books_unreadable" if shard is not None:
            return market.books_unreadable(shard, said.connector)
        case _:
            return None


_OF_NO_MARKET: Final = ("session", "unreadable", "books_session", "books_unreadable")
_OF_NO_SERIES: Final = ("fees", "market_lifecycle_events")


def is_about(
    layout: Layout, folder: str, payload: bytes, *, series: str | None, ticker: str | None
) -> bool:
    """Whether a message is of this series, and of this market, as far as they are given: its
    subject says so. A record of the capture is of none.
    """
    found = subject_of(layout, folder, payload)
    if found is None or folder in _OF_NO_MARKET:
        return False
    # cdc.<table>.<op>.…, md.<channel>.…, md.book.<shard>.…
    tokens = found.split(".")[3 if layout.has_states or folder == "book" else 2 :]
    if not tokens or (ticker is not None and tokens[-1] != changes.token(ticker)):
        return False
    if series is None:
        return True
    if folder in _OF_NO_SERIES:
        return False
    wanted = changes.token(series)
    if tokens[0] == changes.NONE and not layout.has_states:
        # The secmaster did not know the market: its ticker tells.
        return tokens[-1].partition("-")[0] == wanted
    return tokens[0] == wanted
