"""The streams MARKET_DATA and MARKET_BOOKS_<shard>: names, messages, what is declared at NATS."""
