-- name: replication
-- What cdc finds of the WAL, its slot and its publication; no wal_status where there is no slot.
SELECT current_setting('wal_level') AS wal_level,
    s.wal_status, s.active,
    coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() END,
        s.confirmed_flush_lsn), 0)::bigint AS behind_bytes,
    current_setting('max_replication_slots')::int
        - (SELECT count(*) FROM pg_replication_slots)::int AS free_slots,
    (SELECT array_agg(tablename::text) FROM pg_publication_tables
        WHERE pubname = %(publication)s) AS published
FROM (VALUES (1)) AS one (row)
LEFT JOIN pg_replication_slots s ON s.slot_name = %(slot)s

-- name: last_word
-- What a service last said of itself.
SELECT state, ready, reasons, extract(epoch FROM clock_timestamp() - updated_at)::float8 AS age_seconds
FROM service_status WHERE service = %(service)s ORDER BY updated_at DESC LIMIT 1

-- name: is_migrated
-- Whether there are tables of ours, whoever made them.
SELECT to_regclass('service_status') IS NOT NULL AS migrated
