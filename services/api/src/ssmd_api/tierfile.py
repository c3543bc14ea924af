"""Tiers of the fee formula that a file has, beside those of the exchange.

A tier that one account has by agreement is no market data: it is not published, and stands in the
configuration of who asks.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final

import msgspec

from ssmd_api.rows import Row
from ssmd_common.errors import ConfigurationError

DEFAULT: Final = "default"

_DIGITS: Final = Decimal("0.000001")
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ConfiguredTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tier of a file; `source` says where its coefficients come from, in the reader's words."""

    tier: _Name
    maker_fee: Decimal
    taker_fee: Decimal
    source: _Name

    def __post_init__(self) -> None:
        for value in (self.maker_fee, self.taker_fee):
            if not value.is_finite() or not 0 <= value <= 1 or value != value.quantize(_DIGITS):
                raise ValueError(f"{value} is no number from 0 to 1 with up to 6 decimals")

    @property
    def row(self) -> Row:
        """As the table's rows are spelled."""
        return {
            "tier": self.tier,
            "maker_fee": str(self.maker_fee.quantize(_DIGITS)),
            "taker_fee": str(self.taker_fee.quantize(_DIGITS)),
            "source": self.source,
        }


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tiers: tuple[ConfiguredTier, ...]


def load(path: Path | None) -> dict[str, ConfiguredTier]:
    """The tiers of a JSON file, by name; none without one.

    Raises:
        ConfigurationError: names the fault; whoever reads the setting, its name.
    """
    if path is None:
        return {}
    try:
        tiers = msgspec.json.decode(path.read_bytes(), type=_File).tiers
    except OSError as error:
        raise ConfigurationError(f"the file {path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    names = [each.tier for each in tiers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"{path}: these tiers stand twice: {', '.join(twice)}")
    if DEFAULT in names:
        raise ConfigurationError(f"{path}: the tier {DEFAULT!r} is the exchange's: name another")
    return {each.tier: each for each in tiers}
