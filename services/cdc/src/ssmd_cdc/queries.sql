-- name: server_facts
-- What must hold before anything is made: logical WAL, and whether the publication is there.
SELECT current_setting('wal_level') AS wal_level,
       exists(SELECT FROM pg_publication WHERE pubname = %(publication)s) AS has_publication;

-- name: server_time
-- The time by the clock that commits are stamped by.
SELECT extract(epoch FROM clock_timestamp())::float8 AS seconds;

-- name: slot
-- The slot as the server sees it; no row when it is missing. Servers before 17 have no failover slots.
SELECT plugin, database, active, active_pid,
       coalesce((to_jsonb(s) ->> 'failover')::boolean, false) AS failover,
       coalesce((to_jsonb(s) ->> 'synced')::boolean, false) AS synced,
       coalesce((SELECT wait_event = 'WaitForStandbyConfirmation' FROM pg_stat_activity
           WHERE pid = active_pid), false) AS held_back,
       confirmed_flush_lsn::text AS confirmed,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint AS lag_bytes,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS retained_bytes,
       safe_wal_size,
       current_database() AS here
FROM pg_replication_slots AS s WHERE slot_name = %(slot)s;

-- name: slot_is_anothers
-- Whether this is not the slot that was published from, but one made since under its name: nothing
-- was ever decoded from it, although it stands behind what was remembered. The server forgets its
-- counts in a crash; then it cannot be told. From one that a standby kept in step the old primary
-- decoded.
SELECT EXISTS (
    SELECT FROM cdc_state c
    JOIN pg_replication_slots s ON s.slot_name = c.slot
    LEFT JOIN pg_stat_replication_slots t ON t.slot_name = c.slot
    WHERE c.slot = %(slot)s AND c.seq >= 0
      AND coalesce(t.total_txns, 0) = 0
      AND NOT coalesce((to_jsonb(s) ->> 'synced')::boolean, false)
      AND s.confirmed_flush_lsn > c.lsn + 1
      AND (SELECT stats_reset FROM pg_stat_bgwriter) < c.updated_at
) AS anothers;

-- name: xid_reference
-- A fresh 64-bit transaction id, to widen those of the replication protocol; assigns none.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint;

-- name: emit_heartbeat
-- Transactional, so that it is flushed and comes in commit order.
SELECT pg_logical_emit_message(true, %(prefix)s, %(content)s);

-- name: wal_position
-- Behind all that has been written.
SELECT pg_current_wal_insert_lsn()::text AS lsn;

-- name: read_state
SELECT epoch, system_identifier, timeline, stream_created, stream_sequence, lsn::text, seq
FROM cdc_state WHERE slot = %(slot)s;

-- name: write_state
-- Never moves back: a publisher that was paused and lost its slot cannot undo what its successor wrote.
INSERT INTO cdc_state AS s
    (slot, epoch, system_identifier, timeline, stream_created, stream_sequence, lsn, seq, updated_at)
VALUES (%(slot)s, %(epoch)s, %(system_identifier)s, %(timeline)s, %(stream_created)s,
        %(stream_sequence)s, %(lsn)s::pg_lsn, %(seq)s, now())
ON CONFLICT (slot) DO UPDATE SET
    epoch = excluded.epoch, system_identifier = excluded.system_identifier,
    timeline = excluded.timeline, stream_created = excluded.stream_created,
    stream_sequence = excluded.stream_sequence, lsn = excluded.lsn, seq = excluded.seq,
    updated_at = excluded.updated_at
WHERE s.epoch < excluded.epoch
   OR (s.epoch = excluded.epoch AND s.stream_sequence <= excluded.stream_sequence)
RETURNING epoch;

-- name: primary_key
-- The columns of a table's primary key, in its order.
SELECT a.attname
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %(relation)s AND i.indisprimary
ORDER BY k.place;

-- name: types
-- What arrays and domains are made of, with the types that they lead to.
WITH RECURSIVE wanted AS (
    SELECT oid, typinput, typelem, typbasetype FROM pg_type WHERE oid = ANY(%(types)s)
    UNION
    SELECT t.oid, t.typinput, t.typelem, t.typbasetype
    FROM wanted w JOIN pg_type t ON t.oid IN (w.typelem, w.typbasetype)
)
SELECT w.oid::bigint,
       CASE WHEN w.typinput = 'array_in'::regproc THEN w.typelem ELSE 0 END::bigint AS element,
       w.typbasetype::bigint AS base,
       coalesce((SELECT e.typdelim FROM pg_type e WHERE e.oid = w.typelem), ',')::text AS delimiter
FROM wanted w;

-- name: published_tables
-- What a re-announcement covers: tables of the publication, their columns and row filters.
SELECT p.schemaname, p.tablename, p.rowfilter, c.oid::bigint AS relation,
       array_agg(a.attname::text ORDER BY a.attnum) AS columns,
       array_agg(a.atttypid::bigint ORDER BY a.attnum) AS types
FROM pg_publication_tables p
JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attname = ANY(p.attnames)
WHERE p.pubname = %(publication)s
GROUP BY 1, 2, 3, 4;

-- name: log_begins
-- The first id of the log's newest rows, none older than so many seconds (0: any age), that have
-- room in so many bytes; null for none. Each costs `overhead` beside its text.
SELECT min(id) AS id FROM (
    SELECT id, sum(octet_length(e::text) + %(overhead)s) OVER (ORDER BY id DESC) AS bytes
    FROM market_lifecycle_events e
    WHERE %(age)s = 0 OR received_at > now() - make_interval(secs => %(age)s)
) newest WHERE bytes <= %(room)s;

-- name: slot_overview
-- The slot, and how long after being written its WAL was confirmed, as the server measured it.
SELECT s.slot_name AS name, pg_current_wal_flush_lsn()::text AS wal_lsn, s.active, s.wal_status, s.confirmed_flush_lsn::text AS confirmed_lsn,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0)::bigint AS lag_bytes,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS retained_bytes,
       s.safe_wal_size AS safe_bytes,
       CASE WHEN s.active THEN coalesce(extract(epoch FROM r.flush_lag), 0)::float8 END AS lag_seconds
FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
WHERE s.slot_name = %(slot)s;

-- name: state_overview
SELECT epoch, stream_sequence, lsn::text, seq, seq < 0 AS announcing, updated_at
FROM cdc_state WHERE slot = %(slot)s;
