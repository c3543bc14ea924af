-- Writing pages: a batch is copied into a temporary table that the session keeps (creating one per
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
CREATE TEMP TABLE IF NOT EXISTS changed_series (ticker varchar(128), verdict text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_events (ticker varchar(128), verdict text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_markets
    (ticker varchar(128), verdict text, parent varchar(128), former_parent varchar(128))
    ON COMMIT DELETE ROWS;

-- name: room_for_a_batch
-- A batch of wide rows is sorted, and kept for history's triggers: where that goes to disk, inserting takes a tenth longer.
SELECT set_config('work_mem', '16MB', false)
    WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('16MB')

-- name: column_types
-- What the staging tables were made from: when a migration changes it, they are made anew.
SELECT attrelid::text, attname::text, atttypid::text, atttypmod FROM pg_attribute
    WHERE attrelid IN ('series'::regclass, 'events'::regclass, 'markets'::regclass)
    AND attnum > 0 AND NOT attisdropped
    ORDER BY attrelid, attnum

-- name: drop_staging
-- The staging tables whose columns are those of published tables.
DROP TABLE IF EXISTS staged_series, staged_events, staged_markets

-- name: copy_rows
-- Rows into a table.
COPY {table} ({columns}) FROM STDIN

-- name: effective
-- Staged rows some of whose fields were unreadable: those columns are what is stored.
(SELECT {columns} FROM {staged} s LEFT JOIN {table} m ON m.{key} = s.{key})

-- name: effective_column
CASE WHEN {name} = ANY(s.kept) THEN m.{column} ELSE s.{column} END AS {column}

-- name: judged
-- What is staged beside what is stored, with a verdict on each row: `rules.sql` says what is older.
-- Every statement spells out what it judges: a view would depend on the columns of a published
-- table for as long as the session lives, and no migration could change their types.
(SELECT j.*, CASE
        WHEN j.orphan THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN NOT (j.differs OR j.returned) THEN 'same'
        WHEN j.older THEN 'older'
        ELSE 'changed' END AS verdict
    FROM (
        SELECT {judged}, {beside},
            m.{key} AS stored,
            ({older}) IS TRUE AS older,
            ({compared}) IS DISTINCT FROM ({stored}) AS differs
        FROM {staged} s LEFT JOIN {table} m ON m.{key} = s.{key} {parent}
        CROSS JOIN LATERAL (SELECT {times}) AS k
    ) j)

-- name: beside_series
false AS orphan, false AS returned

-- name: beside_event
false AS orphan, m.deleted_at IS NOT NULL AS returned

-- name: beside_market
p.event_ticker IS NULL AS orphan, p.event_ticker AS parent, m.event_ticker AS former_parent,
m.status AS former_status, m.deleted_at IS NOT NULL AS returned

-- name: parent_of_market
LEFT JOIN events p ON p.event_ticker = s.event_ticker

-- name: mark_changed
-- Rows that are to be written; everything else is left alone.
INSERT INTO {changed}
    SELECT j.{key}, j.verdict FROM {view} j WHERE j.verdict IN ('new', 'changed')

-- name: mark_changed_markets
-- Rows that are to be written, with the events whose status may follow; orphans are only reported.
INSERT INTO changed_markets
    SELECT j.ticker, j.verdict, j.parent, j.former_parent FROM {view} j
    WHERE j.verdict IN ('new', 'changed', 'orphan')

-- name: marked
-- Those with one verdict.
SELECT ticker FROM {changed} WHERE verdict = %(verdict)s

-- name: marked_parents
-- The events of markets that are to be written, and those to which they belonged.
SELECT parent FROM changed_markets WHERE parent IS NOT NULL
UNION SELECT former_parent FROM changed_markets WHERE former_parent IS NOT NULL

-- name: stored_tickers
-- Which of these rows are stored.
SELECT {key} FROM {table} WHERE {key} = ANY(%(tickers)s)

-- name: any_stored
-- Whether one of these markets is stored.
SELECT 1 FROM unnest(%(tickers)s::text[]) AS b(ticker) JOIN markets m ON m.ticker = b.ticker LIMIT 1

-- name: lock_known_parents
-- Of some events those that are stored with that series, locked in ticker order.
SELECT e.event_ticker
    FROM unnest(%(events)s::text[], %(series)s::text[]) AS b(event_ticker, series_ticker)
    JOIN events e USING (event_ticker, series_ticker)
    ORDER BY e.event_ticker FOR NO KEY UPDATE OF e

-- name: insert_rows
-- Rows that are not stored yet. A writer that was faster is met by the update that follows.
INSERT INTO {table} ({columns})
    SELECT {values} FROM {changed} c JOIN {view} j ON j.{key} = c.ticker
    WHERE c.verdict = 'new' AND j.verdict = 'new'
    ORDER BY j.{key}
    ON CONFLICT ({key}) DO NOTHING

-- name: update_rows
-- Rows that differ, judged again: they or their parents are locked now, so nobody changes them
-- meanwhile. How many there were, by the status that they had not before.
WITH written AS (
    UPDATE {table} m SET {assignments}, updated_at = now()
        FROM {changed} c JOIN {view} j ON j.{key} = c.ticker
        WHERE m.{key} = c.ticker AND j.verdict = 'changed'
        RETURNING {became} AS became)
SELECT became, count(*) FROM written GROUP BY became

-- name: write_collections
-- Collections that are new or differ, and whether each is new.
WITH given AS (
    SELECT * FROM jsonb_populate_recordset(NULL::multivariate_collections, %(rows)s::jsonb)),
changed AS (
    UPDATE multivariate_collections m SET ({compared}) = ROW({values}), updated_at = now()
        FROM given s
        WHERE m.collection_ticker = s.collection_ticker AND ({stored}) IS DISTINCT FROM ({values})
        RETURNING false AS is_new),
added AS (
    INSERT INTO multivariate_collections ({columns})
        SELECT {given} FROM given s
        WHERE NOT EXISTS (
            SELECT FROM multivariate_collections m WHERE m.collection_ticker = s.collection_ticker)
        ORDER BY s.collection_ticker
        ON CONFLICT (collection_ticker) DO NOTHING
        RETURNING true AS is_new)
SELECT is_new FROM changed UNION ALL SELECT is_new FROM added

-- name: drop_fees
-- Steps of some series that their schedule no longer has.
DELETE FROM series_fees f
    WHERE f.series_ticker = ANY(%(tickers)s)
    AND NOT EXISTS (
        SELECT FROM jsonb_populate_recordset(NULL::series_fees, %(rows)s::jsonb) s
        WHERE s.series_ticker = f.series_ticker AND s.effective_from = f.effective_from)

-- name: update_fees
-- Steps that differ.
UPDATE series_fees f SET ({compared}) = ROW({given})
    FROM jsonb_populate_recordset(NULL::series_fees, %(rows)s::jsonb) s
    WHERE f.series_ticker = s.series_ticker AND f.effective_from = s.effective_from
    AND ({stored}) IS DISTINCT FROM ({given})

-- name: insert_fees
-- Steps that are new.
INSERT INTO series_fees ({columns})
    SELECT {columns} FROM jsonb_populate_recordset(NULL::series_fees, %(rows)s::jsonb) s
    WHERE EXISTS (SELECT FROM series m WHERE m.ticker = s.series_ticker)
    AND NOT EXISTS (
        SELECT FROM series_fees f
        WHERE f.series_ticker = s.series_ticker AND f.effective_from = s.effective_from)

-- name: parents_of_doomed
-- The events of markets that are to be deleted.
SELECT DISTINCT event_ticker FROM markets WHERE ticker = ANY(%(tickers)s)

-- name: delete_markets
-- Soft deletion of what nobody has touched since the scan began.
UPDATE markets SET deleted_at = now(), updated_at = now()
    WHERE ticker = ANY(%(tickers)s) AND deleted_at IS NULL AND status <> 'settled'
    AND observed_at < %(began_at)s

-- name: delete_events
-- Soft deletion of events without a market that is still listed.
UPDATE events e SET deleted_at = now(), updated_at = now()
    WHERE e.event_ticker = ANY(%(tickers)s) AND e.deleted_at IS NULL
    AND NOT EXISTS (
        SELECT FROM markets m WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL)

-- name: retire_series
-- Series that the exchange no longer lists.
UPDATE series SET active = false, updated_at = now() WHERE active AND ticker = ANY(%(tickers)s)
