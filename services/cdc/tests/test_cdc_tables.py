"""The tables that a session was told of: what it learnt of them stays, and goes with them."""

import gc
import weakref
from collections.abc import Iterable
from typing import Any

from ssmd_cdc.encode.values import TypeInfo
from ssmd_cdc.replication.pgoutput import Column, Relation
from ssmd_cdc.replication.tables import Tables

TABLE = Relation(7, "public", "markets", "f", (Column("ticker", 25), Column("title", 25)))


class Catalogue:
    """What the tables ask the database."""

    key = ("ticker",)

    async def primary_key(self, relation: int) -> list[str]:
        return list(self.key)

    async def types(self, oids: Iterable[int]) -> dict[int, TypeInfo]:
        return {}


async def test_a_table_described_again_keeps_what_was_learnt() -> None:
    catalogue: Any = Catalogue()
    tables = Tables(catalogue)
    await tables.learn(TABLE)
    learnt = tables[7].fast_path
    await tables.learn(Relation(7, "public", "markets", "f", tuple(TABLE.columns)))
    assert tables[7].fast_path is learnt


async def test_what_was_learnt_of_a_table_that_changed_is_free_at_once() -> None:
    catalogue: Any = Catalogue()
    tables = Tables(catalogue)
    await tables.learn(TABLE)
    learnt = weakref.ref(tables[7].fast_path)
    # A place refers to what it is a place of, as each does in use.
    tables[7].fast_path.column_slot(0, 0)
    catalogue.key = ("title",)
    gc.disable()
    try:
        await tables.learn(TABLE)
        assert learnt() is None
    finally:
        gc.enable()
    assert tables[7].encoder.key == (1,)
