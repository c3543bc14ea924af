-- name: prepare_status
-- This session's own bounds. What is lost in a crash of the server is written anew seconds later.
SELECT set_config('statement_timeout', '5000', false), set_config('lock_timeout', '2000', false),
    set_config('synchronous_commit', 'off', false)

-- name: server_timeline
-- Which history of the server this is; it changes with a promotion or a restore.
SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer

-- name: server_identifier
-- Which server this is; not every role may ask.
SELECT system_identifier::text FROM pg_control_system()

-- name: write_status
-- How a process is. All times are the server's, so that ages can be compared.
INSERT INTO service_status (service, instance, host, pid, state, ready, reasons, degraded, position,
        lag_seconds, work, work_per_second, errors, memory_bytes, last_error, last_error_at, version,
        system_identifier, timeline, started_at, updated_at)
    VALUES (%(service)s, %(instance)s, %(host)s, %(pid)s, %(state)s, %(ready)s, %(reasons)s,
        %(degraded)s, %(position)s, %(lag_seconds)s, %(work)s, %(work_per_second)s, %(errors)s,
        %(memory_bytes)s, %(last_error)s,
        clock_timestamp() - make_interval(secs => %(last_error_seconds_ago)s), %(version)s,
        %(system_identifier)s, %(timeline)s,
        clock_timestamp() - make_interval(secs => %(seconds_since_start)s), clock_timestamp())
    ON CONFLICT (service, instance) DO UPDATE SET
        state = excluded.state, ready = excluded.ready, reasons = excluded.reasons,
        degraded = excluded.degraded, position = excluded.position,
        lag_seconds = excluded.lag_seconds, work = excluded.work,
        work_per_second = excluded.work_per_second, errors = excluded.errors,
        memory_bytes = excluded.memory_bytes, last_error = excluded.last_error,
        last_error_at = excluded.last_error_at, system_identifier = excluded.system_identifier,
        timeline = excluded.timeline, updated_at = excluded.updated_at

-- name: forget_dead
-- Rows of processes that have been gone for a day, and all but the latest twenty of each service
-- that ended: a service that is started again and again. Its last row always stays.
DELETE FROM service_status WHERE (service, instance) IN (
    SELECT service, instance FROM (
        SELECT service, instance, updated_at,
            row_number() OVER (PARTITION BY service ORDER BY updated_at DESC) AS place
        FROM service_status) AS rows
    WHERE place > 1 AND updated_at < clock_timestamp() - interval '1 minute'
        AND (place > 20 OR updated_at < clock_timestamp() - interval '1 day'))
