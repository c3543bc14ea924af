"""The tables that a session was told of."""

import gc

import structlog

from ssmd_cdc.control import Control
from ssmd_cdc.encode.table_encoder import table_name
from ssmd_cdc.encode.translate import Table
from ssmd_cdc.encode.values import TypeInfo
from ssmd_cdc.replication.pgoutput import Relation

log = structlog.get_logger(__name__)


class Tables(dict[int, Table]):
    """Each table by its relation's number."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control
        self._made_of: dict[int, tuple[Relation, list[str], dict[int, TypeInfo]]] = {}

    async def learn(self, relation: Relation) -> None:
        """A table is described before its first row, and again after anything of it changed.

        An ANALYZE is such a change, and comes by itself every minute where much is written: the
        table stays with all that its fast path has learnt, megabytes, unless the description says
        otherwise.
        """
        made_of = (
            relation,
            await self._control.primary_key(relation.oid),
            await self._control.types(column.type_oid for column in relation.columns),
        )
        if made_of == self._made_of.get(relation.oid):
            return
        _, key, types = made_of
        name = table_name(relation.namespace, relation.name)
        self._made_of[relation.oid] = made_of
        if self.pop(relation.oid, None) is not None:
            forget()
        self[relation.oid] = Table.of(name, relation.columns, key, types)
        if relation.identity != "f":
            log.warning("table has no replica identity full", table=name)


def forget() -> None:
    """Free the tables that nothing uses any more.

    They are cycles, few objects and many bytes, and Python looks for those by the objects.
    """
    gc.collect()
