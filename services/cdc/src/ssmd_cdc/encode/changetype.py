"""What a change means: the `type` of a message (docs/contracts.md § 2).

Precedence: removed, settled, determined, closed, activated, updated.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

_UNFIT = re.compile(r"[^A-Za-z0-9_]")

Row: TypeAlias = Mapping[str, bytes | None]

ENTITIES: Final[Mapping[str, str]] = {"series": "series", "events": "event", "markets": "market"}

_WITHOUT_STEPS: Final[Mapping[str, str]] = {
    "series_fees": "fee_changed",
    "fees": "fee_changed",
    "market_lifecycle_events": "lifecycle_recorded",
}

WATCHED: Final = ("deleted_at", "status", "result", "exchange_status")
"""The columns that the type of an update depends on."""


def inserted(table: str, deleted: bool) -> str:
    """A row appeared; one that is soft-deleted already counts as removed."""
    return _WITHOUT_STEPS.get(table) or f"{entity(table)}_{'removed' if deleted else 'added'}"


def removed(table: str) -> str:
    """A row, or all of them, went away."""
    return _WITHOUT_STEPS.get(table) or f"{entity(table)}_removed"


def updated(table: str, old: Row, new: Row) -> str:
    """What an update did; of both rows only the columns in `WATCHED` matter, as text."""
    if table in _WITHOUT_STEPS:
        return _WITHOUT_STEPS[table]
    return f"{entity(table)}_{_step(table, old, new)}"


def _step(table: str, old: Row, new: Row) -> str:
    was_deleted, is_deleted = old.get("deleted_at") is not None, new.get("deleted_at") is not None
    if is_deleted and not was_deleted:
        return "removed"
    if was_deleted and not is_deleted:
        return "added"
    if table not in ("markets", "events"):
        return "updated"
    status = new.get("status")
    turned = status != old.get("status")
    if turned and status == b"settled":
        return "settled"
    if table == "markets" and _was_determined(old, new):
        return "determined"
    if turned and status == b"closed":
        return "closed"
    if turned and status == b"active" and table == "markets":
        return "activated"
    return "updated"


def _was_determined(old: Row, new: Row) -> bool:
    if new.get("result") and not old.get("result"):
        return True
    word = new.get("exchange_status")
    return word == b"determined" and word != old.get("exchange_status")


def entity(table: str) -> str:
    """The word for one row; a table that is not ours has its own name, made fit for a header."""
    return ENTITIES.get(table) or _UNFIT.sub("_", table)
