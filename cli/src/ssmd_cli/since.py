"""Places in the change stream as options name them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ssmd_common.errors import ConfigurationError
from ssmd_common.times import UNIT_SECONDS
from ssmd_stream.change import parse_lsn

_FORMS: Final = "stream sequence (1042), LSN (0/16B3748)"
_AGE = re.compile(r"(\d+)([smhd])")


@dataclass(frozen=True, slots=True)
class Lsn:
    """From the first change at or after this LSN, in the epoch that is current."""

    number: int


Start = int | datetime | Lsn | None


def parse_since(text: str | None, option: str = "--since", forms: str = _FORMS) -> Start:
    """A stream sequence, an LSN, a time (UTC unless it says otherwise) or an age.

    `forms` names those that the option takes beside the last two.

    Raises:
        ConfigurationError: it is none of them.
    """
    if text is None:
        return None
    try:
        if text.isdigit():
            return int(text)
        if age := _AGE.fullmatch(text):
            return datetime.now(UTC) - timedelta(seconds=int(age[1]) * UNIT_SECONDS[age[2]])
        if "/" in text:
            return Lsn(parse_lsn(text))
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option} {text} is no {forms}, time (2026-02-03T22:00:00Z) or age (15m, 24h, 7d)"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
