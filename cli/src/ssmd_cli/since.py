"""Places in the change stream as options name them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ssmd_cli.past import ago
from ssmd_common.errors import ConfigurationError
from ssmd_stream.change import parse_lsn


@dataclass(frozen=True, slots=True)
class Lsn:
    """From the first change at or after this LSN, in the epoch that is current."""

    number: int


Start = int | datetime | Lsn | None


def parse_since(text: str | None, option: str = "--since") -> Start:
    """A stream sequence, an LSN, a time (UTC unless it says otherwise) or an age.

    Raises:
        ConfigurationError: it is none of them.
        BadParameter: no time is so long ago.
    """
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    if (at := ago(text)) is not None:
        return at
    try:
        if "/" in text:
            return Lsn(parse_lsn(text))
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text} is no stream sequence (1042), LSN (0/16B3748), time "
            "(2026-02-03T22:00:00Z) or age (15m, 24h, 7d)"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
