"""The SQL of an order by several columns, and of what comes after a row in it. Runs none of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from ssmd_api.paging import Page, SortKey
from ssmd_common.columns import Table


@dataclass(frozen=True, slots=True)
class After:
    """What comes after a cursor, in an order."""

    alias: LiteralString
    table: Table
    keys: Sequence[SortKey]
    last: SortKey
    page: Page

    def first(self) -> list[sql.Composable]:
        """What comes after a first key that is there, and is there itself."""
        key = self._key(0)
        if len(self.keys) == 1 and self.keys[0].descends == self.last.descends:
            # So an index has both in one.
            return [
                sql.SQL("({key}, {ticker}) {after} ({value}, %(after_ticker)s)").format(
                    key=key,
                    ticker=sql.Identifier(self.alias, self.last.name),
                    after=_beyond(self.last),
                    value=self._value(0),
                )
            ]
        return [
            sql.SQL("{} = {} AND {}").format(key, self._value(0), self.rest(1)),
            sql.SQL("{} {} {}").format(key, _beyond(self.keys[0]), self._value(0)),
        ]

    def rest(self, number: int) -> sql.Composable:
        """What comes after the keys from this one on, where those before it are equal."""
        if number == len(self.keys):
            return sql.SQL("{} {} %(after_ticker)s").format(
                sql.Identifier(self.alias, self.last.name), _beyond(self.last)
            )
        assert self.page.cursor
        key, rest = self._key(number), self.rest(number + 1)
        if self.page.cursor.keys[number] is None:
            return sql.SQL("({} IS NULL AND {})").format(key, rest)
        return sql.SQL(
            "({key} {after} {value} OR {key} IS NULL OR ({key} = {value} AND {rest}))"
        ).format(key=key, after=_beyond(self.keys[number]), value=self._value(number), rest=rest)

    def _key(self, number: int) -> sql.Identifier:
        return sql.Identifier(self.alias, self.keys[number].name)

    def _value(self, number: int) -> sql.Composed:
        kind = self.table.sorts[self.keys[number].name]
        return sql.SQL("{}::{}").format(sql.Placeholder(f"after_key{number}"), sql.Identifier(kind))


def _beyond(key: SortKey) -> sql.SQL:
    return sql.SQL("<" if key.descends else ">")


def in_order(
    keys: Sequence[SortKey], last: SortKey, *alias: LiteralString, nulls_of_first: bool = True
) -> sql.Composed:
    """An order by keys, of which the last is never NULL."""
    found = []
    for number, key in enumerate(keys):
        direction: LiteralString = "{} DESC" if key.descends else "{} ASC"
        if key != last and (number or nulls_of_first):
            direction += " NULLS LAST"
        found.append(sql.SQL(direction).format(sql.Identifier(*alias, key.name)))
    return sql.SQL(", ").join(found)
