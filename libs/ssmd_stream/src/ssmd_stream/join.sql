-- name: new_xid
-- A transaction id of its own: every older transaction has a smaller one.
SELECT pg_current_xact_id()::text::bigint

-- name: oldest_running
-- The oldest transaction id that still runs, or the next one.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: current_snapshot
-- What the transaction sees.
SELECT pg_current_snapshot()::text

-- name: write_wal
-- A record in the WAL under a transaction id: its commit flushes all that was written before. Here
-- is enough: waiting for a standby could take for ever.
SELECT set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'ssmd', '')
