"""Places in an archive as options name them."""

import re
from datetime import datetime
from typing import Final

from ssmd_archive.bounds import At, Sequence
from ssmd_archive.catalog import Listed
from ssmd_archive.layout import is_day
from ssmd_cli.since import Lsn, parse_since
from ssmd_common.errors import ConfigurationError

_SEQUENCE: Final = "sequence (1042 of the newest chain, 2:1042 of chain 2)"
_LAST_YEAR: Final = "9999"
_OF_CHAIN: Final = re.compile(r"(\d+):(\d+)")


def parse_day(text: str, option: str = "--date") -> str:
    """A day, as the archive's folders are named.

    Raises:
        ConfigurationError: it is none.
    """
    # No day comes after the last one of that year.
    if not is_day(text) or text.startswith(_LAST_YEAR):
        raise ConfigurationError(f"{option} {text} is no day such as 2026-02-03")
    return text


def parse_place(text: str | None, option: str, listed: list[Listed]) -> At | Sequence | None:
    """A time, an age, or a sequence; of the newest chain unless another is named.

    Raises:
        ConfigurationError: it is none of them.
    """
    if text is not None and (match := _OF_CHAIN.fullmatch(text)):
        return Sequence(int(match[1]), int(match[2]))
    match parse_since(text, option, _SEQUENCE):
        case None:
            return None
        case datetime() as moment:
            return At.of(moment)
        case Lsn():
            raise ConfigurationError(
                f"{option} {text} is an LSN, by which an archive cannot be read: each epoch may "
                "begin at a lower one. Give a time, an age or a sequence (`_seq` of a line)"
            )
        case sequence:
            return Sequence(listed[-1].line.chain if listed else 1, sequence)
