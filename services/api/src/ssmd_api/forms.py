"""What texts in a request may look like: one pattern each, which readers apply and OpenAPI shows.

The patterns mean the same in Python and in ECMA 262, the dialect of JSON schemas.
"""

import re
from typing import Final

MAX_TEXT: Final = 128

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f"
TEXT: Final = re.compile(rf"[^{_CONTROLS}]+")
"""A text without control characters, of any length."""
WORDS: Final = re.compile(rf"[^{_CONTROLS}]*(?:[^{_CONTROLS}\s][^{_CONTROLS}]*){{2}}")
"""A text with at least two characters that are no spaces."""

IDEMPOTENCY_KEY: Final = re.compile(rf"[!-~]{{1,{MAX_TEXT}}}")
"""Characters of ASCII that one can see."""

CURSOR: Final = re.compile(r"[A-Za-z0-9_-]*")

PRICE: Final = re.compile(r"0(?:\.[0-9]{1,6})?|1(?:\.0{1,6})?")
COUNT: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")

DURATION: Final = re.compile(r"[0-9]{1,6}[smhd]|[0-9]{1,5}w")
_DAY: Final = (
    r"(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
_LEAP_YEAR: Final = r"[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00"
_HOUR: Final = r"(?:[01][0-9]|2[0-3])"
# A `+` that was not percent-encoded arrives as a space.
_ZONE: Final = rf"Z|[+ -]{_HOUR}:?[0-5][0-9]"
_CLOCK: Final = rf"{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{{1,9}})?)?(?:{_ZONE})?"
_INSTANT: Final = rf"(?:[1-9][0-9]{{3}}-(?:{_DAY})|(?:{_LEAP_YEAR})-02-29)(?:[T ]{_CLOCK})?"
MOMENT: Final = re.compile(f"{DURATION.pattern}|{_INSTANT}")
"""A day, with or without a time, or a duration from now. Days that no month has are none."""
PAST: Final = re.compile(f"-(?:{DURATION.pattern})|{_INSTANT}")
"""A day, with or without a time, or how long ago."""


def whole(pattern: re.Pattern[str]) -> str:
    """The pattern of texts that have nothing else before or after, as JSON schemas write it."""
    return f"^(?:{pattern.pattern})$"
