"""The tables that a session was told of: what it learnt of them stays, and goes with them."""

import gc
import weakref
from collections.abc import Iterable
from typing import Any

from ssmd_cdc.pgoutput import Column, Relation
from ssmd_cdc.shapes import Shapes
from ssmd_cdc.values import TypeInfo

TABLE = Relation(7, "public", "markets", "f", (Column("ticker", 25), Column("title", 25)))


class Catalogue:
    """What the shapes ask the database."""

    key = ("ticker",)

    async def primary_key(self, relation: int) -> list[str]:
        return list(self.key)

    async def types(self, oids: Iterable[int]) -> dict[int, TypeInfo]:
        return {}


async def test_a_table_described_again_keeps_what_was_learnt() -> None:
    catalogue: Any = Catalogue()
    shapes = Shapes(catalogue)
    await shapes.learn(TABLE)
    learnt = shapes[7].quick
    await shapes.learn(Relation(7, "public", "markets", "f", tuple(TABLE.columns)))
    assert shapes[7].quick is learnt


async def test_what_was_learnt_of_a_table_that_changed_is_free_at_once() -> None:
    catalogue: Any = Catalogue()
    shapes = Shapes(catalogue)
    await shapes.learn(TABLE)
    learnt = weakref.ref(shapes[7].quick)
    # A place refers to what it is a place of, as each does in use.
    shapes[7].quick.place(0, 0)
    catalogue.key = ("title",)
    gc.disable()
    try:
        await shapes.learn(TABLE)
        assert learnt() is None
    finally:
        gc.enable()
    assert shapes[7].key == (1,)
