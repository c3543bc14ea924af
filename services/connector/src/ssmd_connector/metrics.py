"""Metrics of connector; those that all services share are in `ssmd_common.metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ssmd_stream.publish.options import PublisherMetrics

PUBLISHED: Final = Counter(
    "ssmd_connector_messages",
    "Messages that MARKET_DATA and the stream of books stored, by type (trade, ticker, book, "
    "session, unreadable); flat: the exchange says nothing, or nothing is published",
    ["type"],
)
IN_FLIGHT: Final = Gauge(
    "ssmd_connector_in_flight_messages",
    "Messages sent and not yet acknowledged; stays at CONNECTOR_WINDOW_MESSAGES while NATS is "
    "slower than the exchange",
)
IN_FLIGHT_BYTES: Final = Gauge(
    "ssmd_connector_in_flight_bytes",
    "Bytes sent and not yet acknowledged; stays at CONNECTOR_WINDOW_BYTES while NATS is slower "
    "than the exchange",
)
PUBLISH_SECONDS: Final = Histogram(
    "ssmd_connector_publish_seconds",
    "Seconds from sending a message to its acknowledgement; rises while NATS or its disk is slow",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10),
)
NOT_STORING: Final = Gauge(
    "ssmd_connector_not_storing",
    "1 while NATS answers and does not store: its disk or its account is full",
)
OUTBOX: Final = Gauge(
    "ssmd_connector_outbox_messages",
    "Messages that wait for NATS, as of the last count; rises while NATS is away or slow",
)
DROPPED: Final = Counter(
    "ssmd_connector_dropped",
    "Messages that found no room, by type; trades are read again over REST, quotes are lost",
    ["type"],
)
REPAIRED: Final = Counter(
    "ssmd_connector_repaired_trades",
    "Trades that were missing after a gap and were read over REST; rises while the connection "
    "breaks or messages are lost",
)
BOOKS_WANTED: Final = Gauge(
    "ssmd_connector_books_wanted",
    "Books that the scope chooses for this shard; rises with the markets that open",
)
BOOKS_CONFIRMED: Final = Gauge(
    "ssmd_connector_books_confirmed",
    "Books that the exchange confirmed; stays below ssmd_connector_books_wanted while it refuses",
)
BOOKS_WITHOUT_PLACE: Final = Gauge(
    "ssmd_connector_books_without_place",
    "Books that are wanted and found every connection full; raise CONNECTOR_BOOK_CONNECTIONS",
)
BOOKS_IN_FLIGHT: Final = Gauge(
    "ssmd_connector_books_in_flight_messages",
    "Messages of books sent and not yet acknowledged; stays at CONNECTOR_WINDOW_MESSAGES while "
    "NATS is slower than the exchange",
)
BOOKS_IN_FLIGHT_BYTES: Final = Gauge(
    "ssmd_connector_books_in_flight_bytes",
    "Bytes of books sent and not yet acknowledged; stays at CONNECTOR_WINDOW_BYTES while NATS is "
    "slower than the exchange",
)
BOOKS_NOT_STORING: Final = Gauge(
    "ssmd_connector_books_not_storing",
    "1 while NATS answers and does not store books: its disk or its account is full",
)
PUBLISHER: Final = PublisherMetrics(
    PUBLISHED, IN_FLIGHT, IN_FLIGHT_BYTES, PUBLISH_SECONDS, NOT_STORING
)
BOOKS_PUBLISHER: Final = PublisherMetrics(
    PUBLISHED, BOOKS_IN_FLIGHT, BOOKS_IN_FLIGHT_BYTES, PUBLISH_SECONDS, BOOKS_NOT_STORING
)
