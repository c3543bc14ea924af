-- name: rows
-- Every row of a table as the change stream shows it.
SELECT convert_to({row}, 'UTF8') FROM {table} t

-- name: place
-- Where the WAL is, and the publisher's newest epoch.
SELECT pg_current_wal_lsn()::text, coalesce((SELECT max(epoch) FROM cdc_state), 0)
