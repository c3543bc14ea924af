"""What writes the tables, as PostgreSQL is sent it, stands in `statements.sql` to be read.

`WRITE=1` before the test writes the file anew.
"""

import os
import re
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from ssmd_common import tables
from ssmd_common.columns import Table, kind_of
from ssmd_store import log, messages, statements
from ssmd_store.states import EventState, MarketState

PAGE = Path(__file__).with_name("statements.sql")


def shown() -> dict[str, bytes]:
    """Of each kind one table, whose columns are few."""
    series = statements.writing("series", keeping=False)
    keeping = statements.writing("series", keeping=True)
    markets = statements.writing("markets", keeping=False)
    of_fees = [statements.QUERIES.update_fees, statements.QUERIES.insert_fees]
    update, insert = (statements.of_fees(query).as_bytes(None) for query in of_fees)
    return {
        "a session's tables": statements.session_setup().as_bytes(None),
        "series: copy": series.stage.as_bytes(None),
        "series: mark what is new or changed": series.mark,
        "series: insert": series.insert,
        "series: update": series.update,
        "series of which some fields were unreadable: copy": keeping.stage.as_bytes(None),
        "series of which some fields were unreadable: mark": keeping.mark,
        "markets: mark": markets.mark,
        "fees: update": update,
        "fees: insert": insert,
        "events, by messages: lock": messages.EVENTS._lock,
        "events, by messages: insert": messages.EVENTS._insert,
        "events, by messages: update": messages.EVENTS._update,
        "log: insert": log.INSERT,
        "log: replace what was backfilled": log.REPLACE_BACKFILLED,
    }


def wrapped(statement: bytes) -> str:
    """Lines that can be read: without comments, and names without their quotes."""
    plain = re.sub(r" *--.*|^\n", "", statement.decode().replace('"', ""), flags=re.MULTILINE)
    return "\n".join(
        textwrap.fill(line, 120, subsequent_indent=f"{_indent(line)}    ", break_on_hyphens=False)
        for line in plain.splitlines()
        if line.strip()
    )


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def test_what_the_columns_become_stands_in_a_file() -> None:
    text = "\n".join(f"-- {name}\n{wrapped(sent)}\n" for name, sent in shown().items())
    if os.environ.get("WRITE"):
        PAGE.write_text(text)
    assert text == PAGE.read_text(), "look at the difference, then WRITE=1"


@pytest.mark.parametrize(
    ("state", "table"), [(EventState, tables.EVENTS), (MarketState, tables.MARKETS)]
)
def test_what_messages_read_and_write_are_columns(state: type, table: Table) -> None:
    """`ssmd_store.states` chooses columns, and says when they have no value; they hold the same."""
    types = get_type_hints(state)
    for field in fields(state):
        assert kind_of(types[field.name]) is table[field.name].kind, field.name
