"""JSON schemas of replies whose rows have what `fields` and `exclude` leave of them."""

from collections.abc import Mapping
from typing import Any, Final

from ssmd_api import schemas, shapes
from ssmd_api.schemas import SCHEMAS, Schema
from ssmd_api.shapes import Shape


def _whole(shape: Shape) -> Shape:
    return shape.including(shape.includes)


_ROWS: Final[Mapping[str, tuple[str | None, Shape]]] = {
    "SeriesPage": ("series", _whole(shapes.SERIES)),
    "SeriesDetail": (None, _whole(shapes.ONE_SERIES)),
    "EventPage": ("events", _whole(shapes.EVENTS)),
    "EventDetail": (None, _whole(shapes.ONE_EVENT)),
    "CollectionPage": ("collections", shapes.COLLECTIONS),
    "Collection": (None, shapes.COLLECTIONS),
    "MarketPage": ("markets", _whole(shapes.MARKETS)),
    "MarketDetail": (None, _whole(shapes.ONE_MARKET)),
    "Lookup": ("markets", _whole(shapes.ANY_LOOKUP)),
    "LifecyclePage": ("lifecycle", shapes.LIFECYCLE),
}
"""By reply: the property with its rows (None: it is a row itself), and a row's whole shape, with
all that can be included."""


def sparse(reply: str) -> dict[str, Schema]:
    """The schemas, by name, of a reply with sparse rows: it has all that is no row, and of a row
    any part."""
    place, shape = _ROWS[reply]
    whole = SCHEMAS[reply]
    if place is None:
        return {f"Sparse{reply}": _row(whole, shape)}
    # A look-up shows more columns when they are asked for.
    row = whole["properties"][place]["items"]
    if reply == "Lookup":
        row = schemas.including(SCHEMAS["Market"], **schemas.OF_LOOKUP)
    name = f"Sparse{reply}Row"
    properties = {**whole["properties"], place: schemas.list_of(schemas.ref(name))}
    return {name: _row(row, shape), f"Sparse{reply}": {**whole, "properties": properties}}


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
