"""Changes with fewer columns in their rows. Pure."""

from dataclasses import dataclass
from typing import Final

import msgspec

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WITH_COLUMNS: Final = ("data", "before", "changes")


@dataclass(frozen=True, slots=True)
class Columns:
    """Only `fields` (all where there are none), without `exclude`. What a newer migration has added
    is among all."""

    fields: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.fields or self.exclude)

    def of_change(self, payload: bytes) -> bytes:
        """A readable message whose row, or what of it has changed, has these columns; every value
        as it was written."""
        message = _OBJECT.decode(payload)
        for name in _WITH_COLUMNS:
            raw = bytes(message.get(name, b""))
            if raw[:1] == b"{":
                row = {
                    column: value
                    for column, value in _OBJECT.decode(raw).items()
                    if (not self.fields or column in self.fields) and column not in self.exclude
                }
                message[name] = msgspec.Raw(msgspec.json.encode(row))
        return msgspec.json.encode(message)


ALL: Final = Columns()
