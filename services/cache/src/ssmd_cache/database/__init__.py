"""PostgreSQL as the cache reads it: a snapshot of all rows, or single ones, as in the stream."""
