"""Names of our streams: what a service may do there, and who reads them, both need them."""

from typing import Final

STREAM: Final = "SECMASTER_CDC"
SUBJECTS: Final = "cdc.>"
DEAD_LETTER_STREAM: Final = "SECMASTER_DLQ"
DEAD_LETTER_SUBJECTS: Final = "dlq.cdc.>"

MARKET_DATA_STREAM: Final = "MARKET_DATA"
MARKET_DATA_SUBJECTS: Final = ("md.trade.>", "md.ticker.>", "md.session.>", "md.unreadable.>")
"""Not `md.>`: the books of a shard have a stream of their own, since a stream has one publisher."""


def books_stream(shard: int) -> str:
    """The stream of the order books of one shard, counted from 0."""
    return f"MARKET_BOOKS_{shard}"


def books_subjects(shard: int) -> tuple[str, ...]:
    """What that stream holds: its books, and what happened to their capture."""
    return (
        f"md.book.{shard}.>",
        f"md.books_session.{shard}.>",
        f"md.books_unreadable.{shard}.>",
    )
