-- Writing rows: a batch is copied into a temporary table that the session keeps (creating one per
-- transaction costs 45 KB of WAL), judged against what is stored, and only what differs is written.
-- {columns} and the like are filled from ssmd_common.models, so that no column can be forgotten.

-- name: set_up_session
-- The temporary tables of a writing session. `kept` names the columns that a stored row keeps.
CREATE TEMP TABLE IF NOT EXISTS staged_series ON COMMIT DELETE ROWS AS
    SELECT {series_columns}, NULL::text[] AS kept FROM series WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS staged_events ON COMMIT DELETE ROWS AS
    SELECT {event_columns}, NULL::timestamptz AS observed_at, NULL::text[] AS kept
    FROM events WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS staged_markets ON COMMIT DELETE ROWS AS
    SELECT {market_columns}, NULL::text[] AS kept FROM markets WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS staged_fees ON COMMIT DELETE ROWS AS
    SELECT {fee_columns} FROM series_fees WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS staged_tickers (ticker varchar(128)) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_series (ticker varchar(128), verdict text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_events (ticker varchar(128), verdict text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_markets
    (ticker varchar(128), verdict text, parent varchar(128), former_parent varchar(128))
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS locked_events (event_ticker varchar(128)) ON COMMIT DELETE ROWS;

-- name: column_types
-- What the staging tables were made from: when a migration changes it, they are made anew.
SELECT attrelid::text, attname::text, atttypid::text, atttypmod FROM pg_attribute
    WHERE attrelid IN (
        'series'::regclass, 'events'::regclass, 'markets'::regclass, 'series_fees'::regclass)
    AND attnum > 0 AND NOT attisdropped
    ORDER BY attrelid, attnum

-- name: drop_staging
-- The staging tables whose columns are those of published tables.
DROP TABLE IF EXISTS staged_series, staged_events, staged_markets, staged_fees

-- name: effective
-- Staged rows some of whose fields were unreadable: those columns are what is stored.
(SELECT {columns} FROM {staged} s LEFT JOIN {table} m ON m.{key} = s.{key})

-- name: effective_column
CASE WHEN {name} = ANY(s.kept) THEN m.{column} ELSE s.{column} END AS {column}

-- name: judged_series
-- Every statement spells out what it judges: a view would depend on the columns of a published
-- table for as long as the session lives, and no migration could change their types.
(SELECT j.*, CASE
        WHEN j.stored IS NULL THEN 'new'
        WHEN j.stale THEN 'stale'
        WHEN j.differs THEN 'changed'
        ELSE 'same' END AS verdict
    FROM (
        SELECT {judged},
            m.ticker AS stored,
            (s.exchange_updated_at < m.exchange_updated_at) IS TRUE AS stale,
            ({compared}) IS DISTINCT FROM ({stored}) AS differs
        FROM {staged} s LEFT JOIN series m ON m.ticker = s.ticker
    ) j)

-- name: judged_events
(SELECT j.*, CASE
        WHEN j.stored IS NULL THEN 'new'
        WHEN j.stale THEN 'stale'
        WHEN j.differs OR j.returned THEN 'changed'
        ELSE 'same' END AS verdict
    FROM (
        SELECT {judged},
            m.event_ticker AS stored,
            m.deleted_at IS NOT NULL AS returned,
            -- A row without a title is a stub: whatever completes it is newer.
            (m.title IS NOT NULL AND (
                s.exchange_updated_at < m.exchange_updated_at
                OR s.observed_at < m.updated_at)) IS TRUE AS stale,
            ({compared}) IS DISTINCT FROM ({stored}) AS differs
        FROM {staged} s LEFT JOIN events m ON m.event_ticker = s.event_ticker
    ) j)

-- name: judged_markets
(SELECT j.*, CASE
        WHEN j.parent IS NULL THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN j.stale THEN 'stale'
        WHEN j.differs OR j.returned THEN 'changed'
        ELSE 'same' END AS verdict
    FROM (
        SELECT {judged},
            p.event_ticker AS parent,
            m.ticker AS stored,
            m.event_ticker AS former_parent,
            m.deleted_at IS NOT NULL AS returned,
            (
                -- Another observation has been written since this one was asked for. What the
                -- WebSocket or the clock wrote in that very moment is newer than a page. A stamp
                -- that is still to come is of a clock that was wrong.
                (s.observed_at < m.observed_at AND m.observed_at <= now() + interval '30 s')
                OR s.observed_at < m.deleted_at
                OR (s.observed_at = m.observed_at AND m.observed_via <> 'rest')
                -- An older copy of the row, from whatever cache of the exchange. A message is sent
                -- a moment after the change that it reports, hence the ten seconds.
                OR s.exchange_updated_at < m.exchange_updated_at
                    - CASE m.observed_via WHEN 'rest' THEN interval '0' ELSE interval '10 s' END
                -- Only newer information takes a market back from settled.
                OR (m.status = 'settled' AND s.status <> 'settled' AND (
                    s.exchange_updated_at
                    > greatest(m.exchange_updated_at, m.settled_time)) IS NOT TRUE)
            ) IS TRUE AS stale,
            ({compared}) IS DISTINCT FROM ({stored}) AS differs
        FROM {staged} s
        LEFT JOIN events p ON p.event_ticker = s.event_ticker
        LEFT JOIN markets m ON m.ticker = s.ticker
    ) j)

-- name: market_status
-- What a market's status becomes. An unknown word keeps it. Opening and closing in time are made
-- by the clock (the exchange is a moment late): a page does not undo them.
CASE
    WHEN s.status IS NULL THEN coalesce(m.status, 'open')
    WHEN m.status = 'closed' AND s.status IN ('open', 'active')
        AND s.close_time <= s.observed_at THEN 'closed'
    WHEN m.status = 'active' AND s.exchange_status = 'initialized'
        AND s.open_time <= s.observed_at AND s.close_time > s.observed_at THEN 'active'
    ELSE s.status
END

-- name: copy_rows
-- Rows into a table.
COPY {table} ({columns}) FROM STDIN

-- name: mark_changed
-- Rows that are to be written; everything else is left alone.
INSERT INTO {changed}
    SELECT j.{key}, j.verdict FROM {view} j WHERE j.verdict IN ('new', 'changed')

-- name: mark_changed_markets
-- Rows that are to be written, with the events whose status may follow; orphans are only reported.
INSERT INTO changed_markets
    SELECT j.ticker, j.verdict, j.parent, j.former_parent FROM {view} j
    WHERE j.verdict IN ('new', 'changed', 'orphan')

-- name: orphans
-- Markets whose event is not known.
SELECT ticker FROM changed_markets WHERE verdict = 'orphan'

-- name: lock_series
-- In ticker order, before they are written.
SELECT count(*) FROM (
    SELECT m.ticker FROM series m
    WHERE m.ticker IN (SELECT ticker FROM changed_series WHERE verdict = 'changed')
    ORDER BY m.ticker FOR NO KEY UPDATE) locked

-- name: lock_events
-- In ticker order, before they are written.
SELECT count(*) FROM (
    SELECT m.event_ticker FROM events m
    WHERE m.event_ticker IN (SELECT ticker FROM changed_events WHERE verdict = 'changed')
    ORDER BY m.event_ticker FOR NO KEY UPDATE) locked

-- name: lock_parents
-- Whoever changes markets first locks their events, in ticker order (docs/architecture.md, decision 13).
INSERT INTO locked_events
    SELECT e.event_ticker FROM events e
    WHERE e.event_ticker IN (
        SELECT parent FROM changed_markets WHERE parent IS NOT NULL
        UNION SELECT former_parent FROM changed_markets WHERE former_parent IS NOT NULL)
    ORDER BY e.event_ticker FOR NO KEY UPDATE;

-- name: stored_tickers
-- Which of these rows are stored.
SELECT {key} FROM {table} WHERE {key} = ANY(%(tickers)s)

-- name: any_stored
-- Whether one of these markets is stored.
SELECT 1 FROM unnest(%(tickers)s::text[]) AS b(ticker) JOIN markets m ON m.ticker = b.ticker LIMIT 1

-- name: lock_known_parents
-- The same for markets that are all new: those of their events that are stored with that series.
INSERT INTO locked_events
    SELECT e.event_ticker
    FROM unnest(%(events)s::text[], %(series)s::text[]) AS b(event_ticker, series_ticker)
    JOIN events e USING (event_ticker, series_ticker)
    ORDER BY e.event_ticker FOR NO KEY UPDATE OF e

-- name: add_series_stubs
-- A series that only an event mentions: the next pass over the series completes it.
INSERT INTO series (ticker, is_game)
    SELECT DISTINCT s.series_ticker, s.series_ticker ~ 'GAME|MATCH'
    FROM staged_events s LEFT JOIN series m ON m.ticker = s.series_ticker
    WHERE m.ticker IS NULL AND ('series_ticker' = ANY(s.kept)) IS NOT TRUE
    ORDER BY s.series_ticker
    ON CONFLICT (ticker) DO NOTHING

-- name: insert_rows
-- Rows that are not stored yet. A writer that was faster is met by the update that follows.
INSERT INTO {table} ({columns})
    SELECT {values} FROM {changed} c JOIN {view} j ON j.{key} = c.ticker
    WHERE c.verdict = 'new' AND j.verdict = 'new'
    ORDER BY j.{key}
    ON CONFLICT ({key}) DO NOTHING

-- name: update_rows
-- Rows that differ, judged again: their parents are locked now, so nobody changes them meanwhile.
UPDATE {table} m SET {assignments}, updated_at = now()
    FROM {changed} c JOIN {view} j ON j.{key} = c.ticker
    WHERE m.{key} = c.ticker AND j.verdict = 'changed'

-- name: settle_events
-- The status of the locked events, from their markets (docs/contracts.md, status rules).
UPDATE events e SET status = c.status, updated_at = now()
    FROM (
        SELECT l.event_ticker, CASE
            WHEN count(m.ticker) = 0 OR bool_or(m.status IN ('open', 'active')) THEN 'open'
            WHEN bool_and(m.status = 'settled') THEN 'settled'
            ELSE 'closed' END AS status
        FROM locked_events l
        LEFT JOIN markets m ON m.event_ticker = l.event_ticker AND m.deleted_at IS NULL
        GROUP BY l.event_ticker) c
    WHERE e.event_ticker = c.event_ticker AND e.status <> c.status

-- name: drop_fees
-- Steps of the staged series that their schedule no longer has.
DELETE FROM series_fees f
    WHERE f.series_ticker IN (SELECT ticker FROM staged_tickers)
    AND NOT EXISTS (
        SELECT FROM staged_fees s
        WHERE s.series_ticker = f.series_ticker AND s.effective_from = f.effective_from)

-- name: update_fees
-- Steps that differ.
UPDATE series_fees f
    SET fee_type = s.fee_type, fee_multiplier = s.fee_multiplier,
        effective_to = s.effective_to, source_id = s.source_id
    FROM staged_fees s
    WHERE f.series_ticker = s.series_ticker AND f.effective_from = s.effective_from
    AND (f.fee_type, f.fee_multiplier, f.effective_to, f.source_id)
        IS DISTINCT FROM (s.fee_type, s.fee_multiplier, s.effective_to, s.source_id)

-- name: insert_fees
-- Steps that are new.
INSERT INTO series_fees ({fee_columns})
    SELECT {fee_columns} FROM staged_fees s
    WHERE EXISTS (SELECT FROM series m WHERE m.ticker = s.series_ticker)
    AND NOT EXISTS (
        SELECT FROM series_fees f
        WHERE f.series_ticker = s.series_ticker AND f.effective_from = s.effective_from)

-- name: fee_schedule
-- Every step that is stored.
SELECT {fee_columns} FROM series_fees ORDER BY series_ticker, effective_from

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
-- The series of every event.
SELECT event_ticker, series_ticker FROM events

-- name: counts
-- The size of what is known.
SELECT (SELECT count(*) FROM series),
    (SELECT count(*) FROM events WHERE status <> 'settled' AND deleted_at IS NULL),
    (SELECT count(*) FROM markets WHERE status <> 'settled' AND deleted_at IS NULL)

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
    AND NOT EXISTS (
        SELECT FROM markets m
        WHERE m.event_ticker = e.event_ticker AND m.mve_collection_ticker IS NOT NULL)

-- name: mark_doomed_markets
-- Markets to delete, with their events; only what nobody has touched since the scan began.
INSERT INTO changed_markets
    SELECT m.ticker, 'doomed', m.event_ticker, NULL
    FROM markets m JOIN staged_tickers s ON s.ticker = m.ticker
    WHERE m.deleted_at IS NULL AND m.status <> 'settled' AND m.observed_at < %(began_at)s

-- name: delete_markets
-- Soft deletion, judged again under the lock.
UPDATE markets m SET deleted_at = now(), updated_at = now()
    FROM changed_markets c
    WHERE m.ticker = c.ticker AND m.deleted_at IS NULL AND m.status <> 'settled'
    AND m.observed_at < %(began_at)s

-- name: lock_doomed_events
-- In ticker order, before they are written.
SELECT count(*) FROM (
    SELECT e.event_ticker FROM events e
    WHERE e.event_ticker IN (SELECT ticker FROM staged_tickers)
    ORDER BY e.event_ticker FOR NO KEY UPDATE) locked

-- name: delete_events
-- Soft deletion of events without a market that is still listed.
UPDATE events e SET deleted_at = now(), updated_at = now()
    FROM staged_tickers s
    WHERE e.event_ticker = s.ticker AND e.deleted_at IS NULL
    AND NOT EXISTS (
        SELECT FROM markets m WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL)

-- name: retire_series
-- Series that the exchange no longer lists.
UPDATE series SET active = false, updated_at = now()
    WHERE active AND ticker IN (SELECT ticker FROM staged_tickers)

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
    unchanged = %(unchanged)s, deleted = %(deleted)s, set_aside = %(set_aside)s,
    rejected_fields = %(rejected_fields)s, unread = %(unread)s, error = %(error)s
    WHERE id = %(id)s

-- name: watermark
-- A resume point.
SELECT watermark FROM sync_watermarks WHERE name = %s

-- name: watermarks
-- All resume points.
SELECT name, watermark FROM sync_watermarks

-- name: move_watermark
-- Forward only; in the transaction of the last data that it stands for.
INSERT INTO sync_watermarks AS w (name, watermark) VALUES (%(name)s, %(watermark)s)
    ON CONFLICT (name) DO UPDATE SET watermark = excluded.watermark, updated_at = now()
    WHERE w.watermark < excluded.watermark

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
