"""Tiers of the fee formula: the exchange's, of the table `fees`, and those of a file."""

from collections.abc import Mapping
from typing import Final

from ssmd_api.rows import Row
from ssmd_api.store import Store
from ssmd_api.tierfile import ConfiguredTier

OF_TABLE: Final = "table fees"
"""The source of a tier that is the exchange's."""


class Tiers:
    """The tiers there are. One of the file hides one of the table that has its name."""

    def __init__(self, configured: Mapping[str, ConfiguredTier]) -> None:
        self._configured = configured

    async def find(self, store: Store, tier: str | None = None) -> list[Row]:
        """The tier of that name, or all, by name; each with its `source`.

        Those of the table are as the store knows them, now or then; the file has no past.
        """
        if tier is not None and tier in self._configured:
            return [self._configured[tier].row]
        stored = await store.fee_tiers(tier)
        found = {row["tier"]: row | {"source": OF_TABLE} for row in stored}
        if tier is None:
            found |= {name: each.row for name, each in self._configured.items()}
        return [found[name] for name in sorted(found)]
