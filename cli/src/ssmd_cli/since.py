"""Places in the change stream as options name them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ssmd_cli.past import ago
from ssmd_common.errors import ConfigurationError
from ssmd_stream.change import parse_lsn

_FORMS: Final = "stream sequence (1042), LSN (0/16B3748)"


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
        BadParameter: no time is so long ago.
    """
    if text is None:
        return None
    if (at := ago(text)) is not None:
        return at
    try:
        if text.isdigit():
            return int(text)
        if "/" in text:
            return Lsn(parse_lsn(text))
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option} {text} is no {forms}, time (2026-02-03T22:00:00Z) or age (15m, 24h, 7d)"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
