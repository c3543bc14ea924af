"""What a client can read: Accept and Accept-Encoding with their weights (RFC 9110, 12.5)."""

from collections.abc import Mapping
from functools import lru_cache


@lru_cache(maxsize=200)
def weights(header: str) -> Mapping[str, float]:
    """Of each range that a header names, in lower case, its weight: 0 refuses it. A weight that
    cannot be read is 1. Other parameters of media types are no matter here."""
    found: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        given = [piece.partition("=")[2] for piece in parameters if piece.startswith("q=")]
        if name:
            found[name] = max(_weight(given[0]) if given else 1.0, found.get(name, 0.0))
    return found


def _weight(text: str) -> float:
    digits = text.replace(".", "", 1)
    return min(float(text), 1.0) if digits.isascii() and digits.isdigit() else 1.0
