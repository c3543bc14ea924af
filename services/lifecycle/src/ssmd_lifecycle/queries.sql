-- What lifecycle reads, and its unpublished tables. The published ones are written by ssmd_store.

-- name: last_messages
-- The last message stored for each ticker, the clock's own rows aside.
SELECT t.ticker, l.metadata::text
    FROM unnest(%(tickers)s::text[]) AS t(ticker)
    CROSS JOIN LATERAL (
        SELECT metadata FROM (
            (SELECT id, metadata FROM market_lifecycle_events
                WHERE market_ticker = t.ticker AND NOT metadata ? 'source'
                ORDER BY id DESC LIMIT 1)
            UNION ALL
            (SELECT id, metadata FROM market_lifecycle_events
                WHERE event_ticker = t.ticker AND market_ticker IS NULL
                ORDER BY id DESC LIMIT 1)
        ) both_kinds ORDER BY id DESC LIMIT 1) l

-- name: market_history
-- The messages of each market that the exchange sent at or after a time.
SELECT l.market_ticker, l.metadata::text, l.sent_at, l.received_at, l.dedupe_key
    FROM unnest(%(tickers)s::text[], %(since)s::timestamptz[]) AS t(ticker, since)
    JOIN market_lifecycle_events l ON l.market_ticker = t.ticker
    WHERE t.since IS NULL OR least(l.sent_at, l.received_at) >= t.since

-- name: event_history
-- The event-level messages of each event that the exchange sent at or after a time.
SELECT l.event_ticker, l.metadata::text, l.sent_at, l.received_at, l.dedupe_key
    FROM unnest(%(tickers)s::text[], %(since)s::timestamptz[]) AS t(ticker, since)
    JOIN market_lifecycle_events l ON l.event_ticker = t.ticker AND l.market_ticker IS NULL
    WHERE t.since IS NULL OR least(l.sent_at, l.received_at) >= t.since

-- name: locate_markets
-- The events of known markets.
SELECT ticker, event_ticker FROM markets WHERE ticker = ANY(%s)

-- name: known_events
-- Known events, with their series.
SELECT event_ticker, series_ticker FROM events WHERE event_ticker = ANY(%s)

-- name: complete_series
-- Those of some series that are more than a stub.
SELECT ticker, title FROM series WHERE ticker = ANY(%s) AND title IS NOT NULL

-- name: categories
-- The series and category of markets, for the filter.
SELECT m.ticker, m.series_ticker, coalesce(e.category, s.category)
    FROM markets m
    JOIN events e ON e.event_ticker = m.event_ticker
    JOIN series s ON s.ticker = m.series_ticker
    WHERE m.ticker = ANY(%s)

-- name: event_categories
-- The series and category of events, for the filter.
SELECT e.event_ticker, e.series_ticker, coalesce(e.category, s.category)
    FROM events e JOIN series s ON s.ticker = e.series_ticker
    WHERE e.event_ticker = ANY(%s)

-- name: listen
-- Hear of markets that other writers made due soon (migrations/004_lifecycle_due.sql).
LISTEN ssmd_due

-- name: last_heard
-- The last moment of which this service can vouch: the last message, else the last sync that read its scope.
SELECT coalesce(
    (SELECT received_at FROM market_lifecycle_events
        WHERE received_at BETWEEN '0001-01-01Z' AND '9999-12-31Z' AND NOT metadata ? 'source'
        ORDER BY received_at DESC LIMIT 1),
    (SELECT max(started_at) FROM sync_runs
        WHERE (outcome = 'ok' OR unread IS NOT NULL)
        AND started_at BETWEEN '0001-01-01Z' AND '9999-12-31Z'))

-- name: open_gap
-- An interval of unknown; `ended_at` is when messages came again.
INSERT INTO lifecycle_gaps (reason, began_at, ended_at) VALUES (%(reason)s, %(began_at)s, %(ended_at)s)
    RETURNING id

-- name: unrepaired_gaps
-- Intervals that a former process left unrepaired.
SELECT id, began_at, reason FROM lifecycle_gaps WHERE repaired_at IS NULL ORDER BY id

-- name: close_gap
-- An interval was repaired over REST.
UPDATE lifecycle_gaps SET repaired_at = %(repaired_at)s, changed = %(changed)s,
        ended_at = coalesce(ended_at, %(repaired_at)s)
    WHERE id = %(id)s
