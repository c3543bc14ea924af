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

-- name: status_overview
-- All that is known of the whole, as one JSON text: every row of service_status with its age, what
-- was last heard and read of the exchange, and what may be missing.
SELECT json_build_object(
    'now', clock_timestamp(),
    'rows', (SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.updated_at DESC), '[]') FROM (
        SELECT *, extract(epoch FROM clock_timestamp() - updated_at) AS age_seconds
            FROM service_status) AS r),
    'last_message_at', (SELECT received_at FROM market_lifecycle_events
        WHERE NOT metadata ? 'source' ORDER BY received_at DESC LIMIT 1),
    'last_sync_at', (SELECT started_at FROM sync_runs WHERE (outcome = 'ok' OR unread IS NOT NULL)
        AND coalesce(scope ->> 'mode', 'full') IN ('full', 'active', 'incremental')
        ORDER BY id DESC LIMIT 1),
    'full_sync_at', (SELECT finished_at FROM sync_runs
        WHERE (outcome = 'ok' OR unread IS NOT NULL)
        AND NOT scope ?| ARRAY['mode', 'categories', 'tags', 'games_only', 'min_volume']
        ORDER BY id LIMIT 1),
    'gaps', (SELECT coalesce(json_agg(json_build_object('reason', reason, 'began_at', began_at)
        ORDER BY began_at), '[]') FROM lifecycle_gaps WHERE repaired_at IS NULL),
    'repaired_at', (SELECT max(repaired_at) FROM lifecycle_gaps))::text

-- name: listen_for_requests
LISTEN ssmd_requests

-- name: open_requests
-- The tasks of a service that were asked for and not answered, each with the seconds since.
SELECT task, extract(epoch FROM clock_timestamp() - min(asked_at))::double precision FROM requests
    WHERE service = %(service)s AND finished_at IS NULL
    GROUP BY task

-- name: take_requests
-- All of a task that are not answered, also those whose worker is gone: whoever takes them holds the
-- task's lock. One that so many workers did not survive is given up.
WITH given_up AS (
    UPDATE requests SET state = 'failed', finished_at = clock_timestamp(),
        error = 'it was begun ' || attempts || ' times, and no worker came to its end'
    WHERE service = %(service)s AND task = %(task)s AND finished_at IS NULL
    AND attempts >= %(most)s)
UPDATE requests SET state = 'running', worker = %(worker)s, attempts = attempts + 1,
    started_at = clock_timestamp()
    WHERE service = %(service)s AND task = %(task)s AND finished_at IS NULL AND attempts < %(most)s
    RETURNING id

-- name: give_requests_back
-- Begun in vain, and no fault of theirs: to be taken again, here or elsewhere.
UPDATE requests SET state = 'waiting', worker = NULL, attempts = attempts - 1, started_at = NULL
    WHERE id = ANY(%(ids)s) AND finished_at IS NULL

-- name: answer_requests
UPDATE requests SET state = %(state)s, finished_at = clock_timestamp(), result = %(result)s::jsonb,
    error = %(error)s
    WHERE id = ANY(%(ids)s) AND finished_at IS NULL

-- name: expire_requests
-- One small batch of old ones, answered or not.
DELETE FROM requests WHERE id IN (
    SELECT id FROM requests WHERE asked_at < %(before)s ORDER BY asked_at LIMIT %(limit)s)
