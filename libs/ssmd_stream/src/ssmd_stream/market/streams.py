"""What MARKET_DATA and MARKET_BOOKS_<shard> are at NATS."""

from __future__ import annotations

from typing import Any, Final

from ssmd_common.streams import (
    MARKET_DATA_STREAM,
    MARKET_DATA_SUBJECTS,
    books_stream,
    books_subjects,
)
from ssmd_stream.administration import PUBLISHED, configuration

MAX_AGE_SECONDS: Final = 2 * 86_400
MAX_BYTES: Final = 8 * 1024**3


def market_data(
    *, max_age_seconds: int = MAX_AGE_SECONDS, max_bytes: int = MAX_BYTES, replicas: int = 1
) -> dict[str, Any]:
    """The stream of trades, quotes and session records; for `administration.ensure`."""
    return configuration(
        MARKET_DATA_STREAM,
        "Trades and quotes as the exchange sent them, and what happened to their capture.",
        MARKET_DATA_SUBJECTS,
        max_age_seconds=max_age_seconds,
        max_bytes=max_bytes,
        replicas=replicas,
        **PUBLISHED,
    )


def books(
    shard: int,
    *,
    max_age_seconds: int = MAX_AGE_SECONDS,
    max_bytes: int = MAX_BYTES,
    replicas: int = 1,
) -> dict[str, Any]:
    """The stream of one shard's books."""
    return configuration(
        books_stream(shard),
        "Order books as the exchange sent them, and what happened to their capture.",
        books_subjects(shard),
        max_age_seconds=max_age_seconds,
        max_bytes=max_bytes,
        replicas=replicas,
        **PUBLISHED,
    )
