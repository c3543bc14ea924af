"""One field of one row of a reply replaced by any JSON text, or left out. Pure."""

import json
from collections.abc import Iterator
from typing import Any

_PLACE = "<the text to be>"
_ROWS = {
    "market": ("markets", "market", "ticker"),
    "event": ("events", "event", "event_ticker"),
    "series": ("series", "series", "ticker"),
}
ENTITIES = frozenset(_ROWS)


def spoilt(body: bytes, entity: str, ticker: str, field: str, text: str | None) -> bytes:
    """The reply with `text`, which need not be JSON that anybody takes, as the field's value in
    every row of that ticker; None leaves the field out.

    Text is written as Latin-1: what it has beyond ASCII is no UTF-8.
    """
    reply = json.loads(body)
    found = False
    for row in _rows(reply, entity):
        if row.get(_ROWS[entity][2]) == ticker:
            found = True
            if text is None:
                row.pop(field, None)
            else:
                row[field] = _PLACE
    if not found:
        return body
    written = json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode()
    if text is None:
        return written
    return written.replace(json.dumps(_PLACE).encode(), text.encode("latin-1"))


def _rows(reply: Any, entity: str) -> Iterator[dict[str, Any]]:
    many, one, _ = _ROWS[entity]
    for key in {many, one, "events", "event"}:
        value = reply.get(key)
        for row in value if isinstance(value, list) else [value]:
            if isinstance(row, dict):
                if key in (many, one):
                    yield row
                if key in ("events", "event") and entity == "market":
                    yield from row.get("markets") or ()
