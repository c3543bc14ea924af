-- What runs read of the published tables, and the unpublished tables of sync. The published ones are
-- written by ssmd_store.

-- name: fee_schedule
-- Every step that is stored.
SELECT {columns} FROM series_fees ORDER BY series_ticker, effective_from

-- name: own_fees
-- What each series says about its own fee.
SELECT ticker, fee_type, fee_multiplier FROM series
    WHERE fee_type IS NOT NULL AND fee_multiplier IS NOT NULL ORDER BY ticker

-- name: overrides
-- The fees of some events that are not their series'.
SELECT event_ticker, fee_type_override, fee_multiplier_override FROM events
    WHERE event_ticker = ANY(%(tickers)s) AND deleted_at IS NULL

-- name: known_series
-- What is known of each series, to decide which are in a scope.
SELECT ticker, category, tags, is_game, volume, active FROM series ORDER BY ticker

-- name: known_events
-- The series of every event; multivariate ones have their collection's.
SELECT event_ticker, series_ticker FROM events WHERE mve_collection_ticker IS NULL

-- name: counts
-- The size of what is known.
SELECT (SELECT count(*) FROM series),
    (SELECT count(*) FROM events
        WHERE status <> 'settled' AND deleted_at IS NULL AND mve_collection_ticker IS NULL),
    (SELECT count(*) FROM markets
        WHERE status <> 'settled' AND deleted_at IS NULL AND mve_collection_ticker IS NULL),
    (SELECT count(*) FROM markets
        WHERE status <> 'settled' AND deleted_at IS NULL AND mve_collection_ticker IS NOT NULL)

-- name: live_markets
-- Markets that a complete scan of what is not settled must show, if the exchange still lists them.
-- A row that was touched after the scan began proves nothing.
SELECT m.ticker, m.series_ticker FROM markets m
    WHERE m.status <> 'settled' AND m.deleted_at IS NULL
    AND m.created_at < %(began_at)s AND m.observed_at < %(began_at)s
    -- No listing shows multivariate markets and their events unless it is asked to.
    AND m.mve_collection_ticker IS NULL

-- name: trading_markets
-- The same of a scan of what trades: each was to show a market that is active.
SELECT m.ticker, m.series_ticker FROM markets m
    WHERE m.status = 'active' AND m.deleted_at IS NULL
    AND m.created_at < %(began_at)s AND m.observed_at < %(began_at)s
    AND m.mve_collection_ticker IS NULL

-- name: live_series
-- The same of series; those that we only know from their events may be missing in the listing.
SELECT ticker, ticker FROM series WHERE active AND created_at < %(began_at)s

-- name: live_events
-- The same of events.
SELECT e.event_ticker, e.series_ticker FROM events e
    WHERE e.status <> 'settled' AND e.deleted_at IS NULL
    AND e.created_at < %(began_at)s AND e.updated_at < %(began_at)s
    AND e.mve_collection_ticker IS NULL

-- name: make_seen
-- The multivariate markets that a run's listings have shown.
CREATE TEMP TABLE IF NOT EXISTS seen_multivariate (ticker text)

-- name: forget_seen
-- Of an earlier run.
TRUNCATE seen_multivariate

-- name: add_seen
-- A page of them.
COPY seen_multivariate (ticker) FROM STDIN

-- name: unseen_multivariate
-- Multivariate markets that a complete scan must show, as `live_markets`, and did not.
SELECT m.ticker, m.series_ticker FROM markets m
    WHERE m.status <> 'settled' AND m.deleted_at IS NULL
    AND m.created_at < %(began_at)s AND m.observed_at < %(began_at)s
    AND m.mve_collection_ticker IS NOT NULL
    AND NOT EXISTS (SELECT FROM seen_multivariate s WHERE s.ticker = m.ticker)
    ORDER BY m.ticker

-- name: live_multivariate
-- How many there are of which that is so.
SELECT count(*) FROM markets m
    WHERE m.status <> 'settled' AND m.deleted_at IS NULL
    AND m.created_at < %(began_at)s AND m.mve_collection_ticker IS NOT NULL

-- name: collections
-- The series of every collection.
SELECT collection_ticker, series_ticker FROM multivariate_collections

-- name: stored_events
-- Which of these events are stored.
SELECT event_ticker FROM events WHERE event_ticker = ANY(%(tickers)s)

-- name: events_of
-- The events of these markets.
SELECT DISTINCT event_ticker FROM markets WHERE ticker = ANY(%(tickers)s)

-- name: begin_run
-- A run's row; the runs of the same job that never ended were killed.
WITH killed AS (
    UPDATE sync_runs SET outcome = 'failed', finished_at = now(), error = 'the process was killed'
    WHERE job = %(job)s AND outcome = 'running' AND %(alone)s)
INSERT INTO sync_runs (job, scope, started_at) VALUES (%(job)s, %(scope)s, %(started_at)s)
    RETURNING id

-- name: end_run
-- What a run did.
UPDATE sync_runs SET finished_at = clock_timestamp(), outcome = %(outcome)s, requests = %(requests)s,
    tokens = %(tokens)s, fetched = %(fetched)s, inserted = %(inserted)s, updated = %(updated)s,
    unchanged = %(unchanged)s, deleted = %(deleted)s, rejected_rows = %(rejected_rows)s,
    rejected_fields = %(rejected_fields)s, unread = %(unread)s, error = %(error)s
    WHERE id = %(id)s

-- name: watermarks
-- All resume points.
SELECT name, watermark FROM sync_watermarks

-- name: move_watermark
-- Forward only; in the transaction of the last data that it stands for.
INSERT INTO sync_watermarks AS w (name, watermark) VALUES (%(name)s, %(watermark)s)
    ON CONFLICT (name) DO UPDATE SET watermark = excluded.watermark, updated_at = now()
    WHERE w.watermark < excluded.watermark

-- name: rename_runs
-- A job has another id than in the version before; its runs go with it.
UPDATE sync_runs SET job = %(job)s WHERE job = %(formerly)s

-- name: last_runs
-- A job's latest runs, the last one first.
SELECT started_at, finished_at, outcome, error FROM sync_runs
    WHERE job = %s ORDER BY started_at DESC LIMIT 20

-- name: expire_runs
-- One small batch of old runs. Freshness needs the last one that read what it was to read, a reader
-- of it what came after.
DELETE FROM sync_runs WHERE id IN (
    SELECT r.id FROM sync_runs r
    WHERE r.started_at < %(before)s
    AND EXISTS (
        SELECT FROM sync_runs n
        WHERE n.job = r.job AND n.scope = r.scope AND n.started_at > r.started_at)
    AND ((r.outcome <> 'ok' AND r.unread IS NULL) OR EXISTS (
        SELECT FROM sync_runs n
        WHERE n.job = r.job AND n.scope = r.scope AND n.started_at > r.started_at
        AND (n.outcome = 'ok' OR n.unread IS NOT NULL)))
    ORDER BY r.started_at LIMIT %(limit)s)

-- name: try_lock
-- One replica runs a job at a time.
SELECT pg_try_advisory_lock(%s, %s)

-- name: unlock
-- The job may run elsewhere.
SELECT pg_advisory_unlock(%s, %s)

-- name: maintain_history
-- Months of history are made and dropped; a line for each.
SELECT history.maintain(%(keep)s::interval, %(max_bytes)s::bigint, %(patience)s::interval)

-- name: history_bytes
-- What history takes on disk.
SELECT history.bytes()
