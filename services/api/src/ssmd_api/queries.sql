-- {columns}, {market}, {series}, … are columns of ssmd_common.tables, put in by the store.

-- name: market
-- One market with its event and its series, which are looked up, also as of a moment.
SELECT {columns}
FROM markets m
JOIN LATERAL (SELECT * FROM events e WHERE e.event_ticker = m.event_ticker OFFSET 0) e ON true
JOIN LATERAL (SELECT * FROM series s WHERE s.ticker = m.series_ticker OFFSET 0) s ON true
WHERE m.ticker = %(ticker)s

-- name: lookup
-- What a subscriber must know of many markets; deleted ones are missing.
SELECT {lookup} FROM markets m WHERE m.ticker = ANY(%(tickers)s) AND m.deleted_at IS NULL

-- name: collections
-- Collections after one, of a series, with an event.
SELECT {columns} FROM multivariate_collections c
WHERE c.collection_ticker > %(after)s
    AND (%(series)s::text IS NULL OR c.series_ticker = %(series)s)
    AND (%(event)s::jsonb IS NULL OR c.associated_events @> %(event)s::jsonb)
ORDER BY c.collection_ticker
LIMIT %(fetch)s

-- name: collection
SELECT {columns} FROM multivariate_collections c WHERE c.collection_ticker = %(ticker)s

-- name: lifecycle
-- A market's lifecycle events in the order in which they were stored.
SELECT {lifecycle}
FROM market_lifecycle_events l
WHERE l.market_ticker = %(ticker)s AND l.id > %(after)s
ORDER BY l.id
LIMIT %(fetch)s

-- name: latest_steps
-- The last steps of markets' lives that were recorded, the last first; `source` is who told of each.
SELECT l.id, l.event_type, l.market_ticker, coalesce(l.sent_at, l.received_at) AS at,
    coalesce(l.metadata->>'source', 'ws') AS source, l.result, m.title, m.yes_sub_title
FROM (
    SELECT * FROM market_lifecycle_events
    WHERE event_type = ANY(%(types)s) AND market_ticker IS NOT NULL
    ORDER BY id DESC
    LIMIT %(limit)s
) l
LEFT JOIN markets m ON m.ticker = l.market_ticker
ORDER BY l.id DESC

-- name: series_of
SELECT {series} FROM series s WHERE s.ticker = ANY(%(tickers)s)

-- name: fee_schedules
SELECT {fee} FROM series_fees f WHERE f.series_ticker = ANY(%(tickers)s) ORDER BY f.effective_from

-- name: created_daily
-- Markets by series and by the UTC day on which the exchange says it made them, else we first saw them; of some series,
-- or of all.
SELECT m.series_ticker, m.day, count(*) FROM (
    SELECT series_ticker, CASE WHEN extra->>'created_time' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T.*Z$'
        THEN left(extra->>'created_time', 10)
        ELSE to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS day
    FROM markets
    WHERE (%(tickers)s::text[] IS NULL OR series_ticker = ANY(%(tickers)s)) AND deleted_at IS NULL
        AND mve_collection_ticker IS NULL
) m
WHERE m.day > to_char((%(at)s::timestamptz AT TIME ZONE 'UTC')::date - %(days)s::integer, 'YYYY-MM-DD')
GROUP BY m.series_ticker, m.day

-- name: market_exists
SELECT EXISTS (SELECT FROM markets WHERE ticker = %(ticker)s)

-- name: event
-- One event with its series.
SELECT {columns}
FROM events e
JOIN LATERAL (SELECT * FROM series s WHERE s.ticker = e.series_ticker OFFSET 0) s ON true
WHERE e.event_ticker = %(ticker)s

-- name: event_markets
SELECT {market} FROM markets m
WHERE m.event_ticker = %(ticker)s AND m.deleted_at IS NULL
ORDER BY m.ticker

-- name: event_market_count
SELECT count(*) FROM markets WHERE event_ticker = %(ticker)s AND deleted_at IS NULL

-- name: series
SELECT {series} FROM series s WHERE s.ticker = %(ticker)s

-- name: series_event_counts
-- Each index has the one kind or the other.
SELECT status, count(*) FROM (
    SELECT status FROM events
    WHERE series_ticker = %(ticker)s AND deleted_at IS NULL AND mve_collection_ticker IS NULL
    UNION ALL
    SELECT status FROM events
    WHERE series_ticker = %(ticker)s AND deleted_at IS NULL AND mve_collection_ticker IS NOT NULL
) e
GROUP BY status

-- name: series_market_counts
SELECT status, count(*) FROM (
    SELECT status FROM markets
    WHERE series_ticker = %(ticker)s AND deleted_at IS NULL AND mve_collection_ticker IS NULL
    UNION ALL
    SELECT status FROM markets
    WHERE series_ticker = %(ticker)s AND deleted_at IS NULL AND mve_collection_ticker IS NOT NULL
) m
GROUP BY status

-- name: fee_schedule
SELECT {fee} FROM series_fees f WHERE f.series_ticker = %(ticker)s ORDER BY f.effective_from

-- name: quoted
-- What the fees of many markets follow from, beside their series' schedules.
SELECT m.ticker, e.fee_type_override, e.fee_multiplier_override,
    m.series_ticker, s.fee_type, s.fee_multiplier
FROM markets m
JOIN events e ON e.event_ticker = m.event_ticker
JOIN series s ON s.ticker = m.series_ticker
WHERE m.ticker = ANY(%(tickers)s)

-- name: fee_tiers
SELECT {tier} FROM fees f
WHERE %(tier)s::text IS NULL OR f.tier = %(tier)s
ORDER BY f.tier

-- name: moment
-- An error where the record does not have the moment.
SELECT m::text FROM history.moment(%(at)s) m

-- name: versions
-- A row's changes before a number, the last first, each with the row before and after it: what is, with what each later
-- change had replaced.
SELECT v.number, v.at, v.xid, v.kind, v.changed, {before}, {after}
FROM (
    SELECT number, at, xid, kind, ARRAY(SELECT jsonb_object_keys(was)) AS changed,
        jsonb_populate_record(NULL::{table}, history.merged(was) OVER w) AS before,
        jsonb_populate_record(NULL::{table}, history.merged(was) OVER (
            w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS after
    FROM (
        SELECT number, at, xid::text::bigint AS xid, kind, was FROM {changes} WHERE {key} = %(ticker)s
        UNION ALL
        SELECT 9223372036854775807, NULL, NULL, NULL, to_jsonb(r) FROM {table} r WHERE {key} = %(ticker)s
    ) e
    WINDOW w AS (ORDER BY number DESC)
) v
WHERE v.number < %(before)s
ORDER BY v.number DESC
LIMIT %(fetch)s

-- name: has_row
SELECT EXISTS (SELECT FROM {table} WHERE {key} = %(ticker)s)
    OR EXISTS (SELECT FROM {changes} WHERE {key} = %(ticker)s)

-- name: record_begins
SELECT min(known_from) FROM history.spans

-- name: stats_series
-- Every series with its number of events, multivariate ones aside, and its volume.
SELECT s.ticker, s.category, s.active, s.is_game, coalesce(e.events, 0), s.volume
FROM series s
LEFT JOIN (
    SELECT series_ticker, count(*) AS events FROM events
    WHERE deleted_at IS NULL AND mve_collection_ticker IS NULL
    GROUP BY series_ticker
) e ON e.series_ticker = s.ticker

-- name: stats_markets
-- Markets by series (or of all series, with an empty ticker) and status, multivariate ones aside, with the
-- category that each counts under; and how many of them that trade, or will, close within an hour, a day, a week.
SELECT CASE WHEN %(by_series)s THEN m.series_ticker ELSE '' END, coalesce(e.category, s.category) AS category, m.status,
    sum(m.markets)::bigint, sum(m.hour)::bigint, sum(m.day)::bigint, sum(m.week)::bigint
FROM (
    SELECT event_ticker, series_ticker, status, count(*) AS markets,
        count(*) FILTER (WHERE soon AND close_time < %(now)s + interval '1 hour') AS hour,
        count(*) FILTER (WHERE soon AND close_time < %(now)s + interval '1 day') AS day,
        count(*) FILTER (WHERE soon AND close_time < %(now)s + interval '7 days') AS week
    FROM (
        SELECT *, status IN ('open', 'active') AND close_time >= %(now)s AS soon FROM markets
        WHERE deleted_at IS NULL AND mve_collection_ticker IS NULL
    ) m
    GROUP BY event_ticker, series_ticker, status
) m
JOIN events e ON e.event_ticker = m.event_ticker
JOIN series s ON s.ticker = m.series_ticker
GROUP BY 1, 2, 3

-- name: stats_last_runs
-- Each job's last run.
SELECT DISTINCT ON (job) job, {run} FROM sync_runs r ORDER BY job, started_at DESC, id DESC

-- name: stats_last_successes
SELECT DISTINCT ON (job) job, finished_at FROM sync_runs
WHERE outcome = 'ok'
ORDER BY job, started_at DESC, id DESC

-- name: stats_recent_runs
SELECT {run} FROM sync_runs r ORDER BY id DESC LIMIT %(limit)s

-- name: stats_watermarks
SELECT name, watermark FROM sync_watermarks ORDER BY name

-- name: gaps
-- Intervals in which lifecycle may have missed messages: those that are not repaired, then the last ones.
SELECT id, reason, began_at, ended_at, repaired_at, changed FROM lifecycle_gaps
ORDER BY repaired_at IS NOT NULL, began_at DESC, id DESC
LIMIT %(fetch)s

-- name: event_steps
-- The last messages about an event itself, the last first.
SELECT {lifecycle}
FROM market_lifecycle_events l
WHERE l.event_ticker = %(event)s AND l.market_ticker IS NULL
ORDER BY l.id DESC
LIMIT %(fetch)s

-- name: covering_runs
-- The runs that freshness counts: of each job and scope the last that read all, and of those after
-- it, that read all but some rows, the last ten. Of ten in a row each may have missed another row.
SELECT scope, started_at, finished_at, unread FROM (
    SELECT scope, started_at, finished_at, coalesce(unread, '{}') AS unread,
        row_number() OVER w AS n,
        sum((cardinality(coalesce(unread, '{}')) = 0)::int) OVER w AS whole
    FROM sync_runs
    WHERE (outcome = 'ok' OR unread IS NOT NULL)
    AND finished_at IS NOT NULL AND started_at > now() - interval '2 days'
    WINDOW w AS (PARTITION BY job, scope ORDER BY started_at DESC, id DESC)) r
WHERE (whole = 0 AND n <= 10) OR (whole = 1 AND cardinality(unread) = 0)
ORDER BY started_at DESC

-- name: key_by_prefix
SELECT id, name, key_hash, scopes, rate_limit_per_minute, expires_at, revoked_at
FROM api_keys
WHERE key_prefix = %(prefix)s

-- name: keys
SELECT id, name, key_prefix, scopes, rate_limit_per_minute, created_at, last_used_at, expires_at, revoked_at
FROM api_keys
WHERE id > %(after)s
ORDER BY id
LIMIT %(fetch)s

-- name: create_key
-- Make a key, and note who did.
WITH made AS (
    INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute, expires_at)
    VALUES (%(name)s, %(prefix)s, %(hash)s, %(scopes)s, %(rate_limit_per_minute)s, %(expires_at)s)
    RETURNING id, name, key_prefix, scopes, rate_limit_per_minute, created_at, last_used_at, expires_at, revoked_at
), noted AS (
    INSERT INTO api_key_audit (action, key_id, key_prefix, key_name, actor, actor_key_id, origin, request_id)
    SELECT 'made', id, key_prefix, name, %(actor)s, %(actor_key_id)s, %(origin)s, %(request_id)s FROM made
)
SELECT * FROM made

-- name: revoke_key
-- Revoke a key, and note who did. Revoking twice keeps the first time, and the first note.
WITH before AS (
    SELECT id, name, key_prefix, revoked_at FROM api_keys WHERE id = %(id)s FOR UPDATE
), revoked AS (
    UPDATE api_keys k SET revoked_at = now() FROM before b WHERE k.id = b.id AND b.revoked_at IS NULL
), noted AS (
    INSERT INTO api_key_audit (action, key_id, key_prefix, key_name, actor, actor_key_id, origin, request_id)
    SELECT 'revoked', id, key_prefix, name, %(actor)s, %(actor_key_id)s, %(origin)s, %(request_id)s
    FROM before WHERE revoked_at IS NULL
)
SELECT key_prefix FROM before

-- name: key_audit
-- What was done with keys, the last first.
SELECT id, at, action, key_id, key_prefix, key_name, actor, actor_key_id, origin, request_id
FROM api_key_audit
WHERE id < coalesce(%(before)s::bigint, 9223372036854775807)
ORDER BY id DESC
LIMIT %(fetch)s

-- name: keys_used
UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, u.used_at)
FROM unnest(%(ids)s::bigint[], %(used_at)s::timestamptz[]) AS u (id, used_at)
WHERE k.id = u.id

-- name: ping
SELECT 1

-- name: ask
-- Tell the service that it is for, once the row is there for it to see.
WITH made AS (
    INSERT INTO requests (service, task, asked_by, key_id, idempotency_key, request_id)
    VALUES (%(service)s, %(task)s, %(asked_by)s, %(key_id)s, %(idempotency_key)s, %(request_id)s)
    ON CONFLICT (key_id, idempotency_key) DO NOTHING
    RETURNING id, service, task, state, asked_at, asked_by, worker, attempts, started_at, finished_at,
        result, error
)
SELECT made.* FROM made, pg_notify('ssmd_requests', made.service)

-- name: request_by_key
SELECT id, service, task, state, asked_at, asked_by, worker, attempts, started_at, finished_at,
    result, error
FROM requests
WHERE key_id = %(key_id)s AND idempotency_key = %(idempotency_key)s

-- name: request
SELECT id, service, task, state, asked_at, asked_by, worker, attempts, started_at, finished_at,
    result, error
FROM requests
WHERE id = %(id)s

-- name: requests
SELECT id, service, task, state, asked_at, asked_by, worker, attempts, started_at, finished_at,
    result, error
FROM requests
WHERE %(before)s::bigint IS NULL OR id < %(before)s
ORDER BY id DESC
LIMIT %(fetch)s

-- name: job_exists
SELECT 1 FROM service_status
WHERE service = 'sync' AND position -> 'jobs' ? %(job)s
LIMIT 1
