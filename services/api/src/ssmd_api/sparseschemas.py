"""JSON schemas of replies whose rows have what `fields` and `exclude` leave of them."""

from collections.abc import Mapping
from typing import Any, Final

from ssmd_api import schemas, shapes
from ssmd_api.schemas import SCHEMAS, Schema
from ssmd_api.shapes import Shape
from ssmd_common import tables

_ROWS: Final[Mapping[str, tuple[str | None, Shape]]] = {
    "SeriesPage": ("series", shapes.SERIES),
    "SeriesDetail": (None, shapes.ONE_SERIES),
    "EventPage": ("events", shapes.EVENTS),
    "EventDetail": (None, shapes.ONE_EVENT),
    "CollectionPage": ("collections", shapes.COLLECTIONS),
    "Collection": (None, shapes.COLLECTIONS),
    "MarketPage": ("markets", shapes.MARKETS),
    "MarketDetail": (None, shapes.ONE_MARKET),
    "Lookup": ("markets", Shape(tables.MARKETS)),
    "LifecyclePage": ("lifecycle", shapes.LIFECYCLE),
}
"""By reply: the property with its rows (None: it is a row itself), and a row's whole shape."""


def sparse(reply: str) -> Schema:
    """The schema of a reply with sparse rows: it has all that is no row, and of a row any part."""
    place, shape = _ROWS[reply]
    whole = SCHEMAS[reply]
    if place is None:
        return _row(whole, shape)
    # A look-up shows more columns when they are asked for.
    row = schemas.ref("Market") if reply == "Lookup" else whole["properties"][place]["items"]
    rows = schemas.list_of(_row(row, shape))
    return {**whole, "properties": {**whole["properties"], place: rows}}


def _row(schema: Schema, shape: Shape) -> Schema:
    row = _optional(schema)
    for member, table in shape.members.items():
        # A member that is one value comes as a whole.
        if table is not None:
            row["properties"][member] = _optional(row["properties"][member])
    return row


def _optional(schema: Schema) -> dict[str, Any]:
    """The same of a row, of rows, or of a row that may be null; without `required`."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return _optional(SCHEMAS[name])
    if "items" in schema:
        return {**schema, "items": _optional(schema["items"])}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_optional(each) for each in schema["anyOf"]]}
    left = {key: value for key, value in schema.items() if key != "required"}
    return {**left, "properties": dict(left["properties"])} if "properties" in left else left
