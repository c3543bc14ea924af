"""From rows to messages: whole rows, differences, keys, subjects, identities."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cdc.encode.envelope import Envelope, Outgoing, as_marker, utc
from ssmd_cdc.encode.fast_path import FastPath
from ssmd_cdc.encode.table_encoder import TableEncoder
from ssmd_cdc.encode.translate import Table, translate
from ssmd_cdc.errors import UnreadableValue
from ssmd_cdc.replication.pgoutput import UNCHANGED, Column, Value
from ssmd_stream import change

MARKETS = TableEncoder.of(
    "markets",
    (
        Column("ticker", 1043),
        Column("event_ticker", 1043),
        Column("series_ticker", 1043),
        Column("status", 1043),
        Column("yes_bid", 23),
        Column("rules_primary", 25),
        Column("deleted_at", 1184),
    ),
    ("ticker",),
    {},
)
ROW: list[Value] = [b"KXA-1-T9.5", b"KXA-1", b"KXA", b"active", b"45", b"long " * 9, None]


def make_envelope() -> Envelope:
    return Envelope(3, 0x16B3748, 734219, "2026-02-03T22:05:00.123456Z")


def body(message: Outgoing) -> dict[str, Any]:
    change.decode(message.payload)
    return dict(json.loads(message.payload))


def update(
    encoder: TableEncoder, old: list[Value], new: list[Value], envelope: Envelope | None = None
) -> list[Outgoing]:
    differing = [at for at, value in enumerate(new) if value != old[at]]
    return (envelope or make_envelope()).update(encoder, old, new, differing)


def encode(row: list[Value]) -> bytes:
    parts = [struct.pack(">H", len(row))]
    for value in row:
        if isinstance(value, bytes):
            parts.append(b"t" + struct.pack(">I", len(value)) + value)
        else:
            parts.append(b"n" if value is None else b"u")
    return b"".join(parts)


def replaced(**values: Value) -> list[Value]:
    return [values.get(name, value) for name, value in zip(MARKETS.columns, ROW, strict=True)]


def test_insert() -> None:
    message = make_envelope().insert(MARKETS, ROW)
    assert message.subject == "cdc.markets.insert.KXA.KXA-1.KXA-1-T9%2E5"
    assert body(message) == {
        "v": 1,
        "lsn": "0/16B3748",
        "seq": 0,
        "xid": 734219,
        "epoch": 3,
        "table": "markets",
        "op": "insert",
        "type": "market_added",
        "ticker": "KXA-1-T9.5",
        "key": {"ticker": "KXA-1-T9.5"},
        "data": {
            "ticker": "KXA-1-T9.5",
            "event_ticker": "KXA-1",
            "series_ticker": "KXA",
            "status": "active",
            "yes_bid": 45,
            "rules_primary": "long " * 9,
            "deleted_at": None,
        },
        "timestamp": "2026-02-03T22:05:00.123456Z",
    }


def test_update_tells_what_differs_and_no_more() -> None:
    [message] = update(MARKETS, ROW, replaced(status=b"closed", yes_bid=None))
    assert body(message)["changes"] == {
        "status": {"old": "active", "new": "closed"},
        "yes_bid": {"old": 45, "new": None},
    }
    assert message.type == "market_closed"
    assert "before" not in body(message)


def test_an_update_that_changes_nothing_is_a_message_all_the_same() -> None:
    [message] = update(MARKETS, ROW, list(ROW))
    assert body(message)["changes"] == {}


def test_unchanged_toast_is_filled_from_the_row_before() -> None:
    new = replaced(rules_primary=UNCHANGED, yes_bid=b"46")
    [message] = update(MARKETS, ROW, new)
    assert body(message)["data"]["rules_primary"] == "long " * 9
    assert set(body(message)["changes"]) == {"yes_bid"}


def test_unchanged_toast_without_the_row_before_is_never_null() -> None:
    with pytest.raises(UnreadableValue, match="rules_primary"):
        make_envelope().blind_update(MARKETS, replaced(rules_primary=UNCHANGED))


@pytest.mark.parametrize("column", ["ticker", "event_ticker", "series_ticker"])
def test_a_change_of_key_or_subject_is_a_delete_and_an_insert(column: str) -> None:
    new = replaced(**{column: b"OTHER", "rules_primary": UNCHANGED})
    delete, insert = update(MARKETS, ROW, new)
    assert (delete.seq, insert.seq) == (0, 1)
    assert delete.subject == "cdc.markets.delete.KXA.KXA-1.KXA-1-T9%2E5"
    assert "OTHER" in insert.subject
    assert body(delete)["before"] == body(make_envelope().insert(MARKETS, ROW))["data"]
    assert body(delete)["data"] is None
    assert body(insert)["data"]["rules_primary"] == "long " * 9
    assert (delete.type, insert.type) == ("market_removed", "market_added")


def test_delete() -> None:
    message = make_envelope().delete(MARKETS, ROW, whole=True)
    assert body(message)["before"]["yes_bid"] == 45
    assert body(message)["data"] is None
    assert body(message)["key"] == {"ticker": "KXA-1-T9.5"}


def test_messages_are_numbered_across_kinds() -> None:
    envelope = make_envelope()
    messages = [
        envelope.insert(MARKETS, ROW),
        *update(MARKETS, ROW, replaced(ticker=b"B"), envelope),
        envelope.truncate("markets"),
    ]
    assert [message.seq for message in messages] == [0, 1, 2, 3]
    assert [body(message)["seq"] for message in messages] == [0, 1, 2, 3]


def test_truncate_and_the_marks_of_a_snapshot() -> None:
    envelope = make_envelope()
    assert envelope.truncate("markets").subject == "cdc.markets.truncate"
    assert envelope.snapshot_begin("markets").subject == "cdc.markets.snapshot_begin"
    assert "final" not in body(envelope.snapshot_end("markets", final=False))
    assert body(envelope.snapshot_end("markets", final=True))["final"] is True


def test_lifecycle_subject_falls_back_on_the_event() -> None:
    columns = ("id", "market_ticker", "event_ticker", "event_type")
    encoder = TableEncoder.of(
        "market_lifecycle_events", tuple(Column(name, 1043) for name in columns), ("id",), {}
    )
    message = make_envelope().insert(encoder, [b"1", None, b"KXA-1", b"event_lifecycle"])
    assert message.subject == "cdc.market_lifecycle_events.insert.event_lifecycle.KXA-1"
    assert body(message)["ticker"] == "KXA-1"
    message = make_envelope().insert(encoder, [b"1", b"KXA-1-X", b"KXA-1", b"determined"])
    assert message.subject == "cdc.market_lifecycle_events.insert.determined.KXA-1-X"


def test_a_table_that_is_not_ours_has_a_subject_too() -> None:
    encoder = TableEncoder.of("odd.name", (Column("a", 23),), (), {})
    message = make_envelope().insert(encoder, [b"1"])
    assert message.subject == "cdc.odd%2Ename.insert._"
    assert body(message)["key"] is None


def test_a_marker_keeps_the_identity_and_says_why() -> None:
    message = make_envelope().insert(MARKETS, ROW)
    marker = as_marker(message, "too large")
    assert (marker.lsn, marker.seq, marker.subject) == (message.lsn, message.seq, message.subject)
    assert marker.raw is None
    assert marker.id == message.id
    expected = {**body(message), "data": None, "error": "too large"}
    assert body(marker) == expected


def row_message(kind: bytes, *rows: tuple[bytes, list[Value]]) -> bytes:
    return kind + b"\0\0\0\7" + b"".join(mark + encode(row) for mark, row in rows)


SICK = {"deleted_at": b"no time"}


@pytest.mark.parametrize(
    ("data", "subject", "ticker"),
    [
        (row_message(b"I", (b"N", replaced(**SICK))), "insert.KXA.KXA-1.KXA-1-T9%2E5", True),
        (
            row_message(b"U", (b"O", ROW), (b"N", replaced(**SICK))),
            "update.KXA.KXA-1.KXA-1-T9%2E5",
            True,
        ),
        (row_message(b"D", (b"O", replaced(**SICK))), "delete.KXA.KXA-1.KXA-1-T9%2E5", True),
        # About two rows, or one that cannot be split or told: nobody's.
        (
            row_message(b"U", (b"O", ROW), (b"N", replaced(ticker=b"NEW", **SICK))),
            "update._._._",
            False,
        ),
        (row_message(b"I", (b"N", replaced(ticker=b"\xff"))), "insert._._._", False),
        (row_message(b"I", (b"N", ROW[:3])), "insert._._._", False),
        (row_message(b"I", (b"N", ROW))[:-1], "insert._._._", False),
        (row_message(b"U", (b"N", replaced(ticker=UNCHANGED))), "update._._._", False),
    ],
    ids=["insert", "update", "delete", "another key", "no text", "short", "cut", "not sent"],
)
def test_a_marker_says_whose_row_it_is_where_that_can_be_read(
    data: bytes, subject: str, ticker: bool
) -> None:
    [marker] = translate(make_envelope(), {7: Table(MARKETS, FastPath(MARKETS))}, data)
    assert marker.subject == f"cdc.markets.{subject}"
    assert marker.raw == data
    found = body(marker)
    assert "cannot be read" in found["error"]
    assert (found["ticker"], found["key"]) == (
        ("KXA-1-T9.5", {"ticker": "KXA-1-T9.5"}) if ticker else (None, None)
    )


texts = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@given(st.lists(texts, min_size=7, max_size=7), st.lists(texts, min_size=7, max_size=7))
def test_replaying_an_update_gives_the_row(before: list[str], after: list[str]) -> None:
    columns = tuple(Column(f"c{at}", 25) for at in range(7))
    encoder = TableEncoder.of("t", columns, (), {})
    old: list[Value] = [text.encode() for text in before]
    new: list[Value] = [text.encode() for text in after]
    [message] = update(encoder, old, new)
    found = body(message)
    replayed = dict(zip(encoder.columns, before, strict=True))
    for name, difference in found["changes"].items():
        assert replayed[name] == difference["old"]
        replayed[name] = difference["new"]
    assert replayed == found["data"] == dict(zip(encoder.columns, after, strict=True))


def test_utc() -> None:
    assert utc(823_471_500_123_456) == "2026-02-03T22:05:00.123456Z"
