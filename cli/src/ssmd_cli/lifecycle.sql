-- name: summary
-- How lifecycle stands: its last message, what the clock does next, what was missed.
SELECT
    (SELECT max(received_at) FROM market_lifecycle_events WHERE NOT metadata ? 'source')
        AS last_message_at,
    (SELECT max(received_at) FROM market_lifecycle_events WHERE metadata ->> 'source' = 'clock')
        AS last_turn_at,
    least(
        (SELECT min(open_time) FROM markets
            WHERE status = 'open' AND open_time > now() AND deleted_at IS NULL),
        (SELECT min(close_time) FROM markets
            WHERE status IN ('open', 'active') AND close_time > now() AND deleted_at IS NULL))
        AS next_due_at,
    (SELECT count(*) FROM markets
        WHERE status IN ('open', 'active') AND deleted_at IS NULL
        AND close_time < now() - interval '5 s') AS overdue,
    -- A repair and its rows take seconds.
    (SELECT count(*) FROM lifecycle_gaps
        WHERE repaired_at IS NULL AND coalesce(ended_at, began_at) < now() - interval '30 s')
        AS unrepaired_gaps,
    EXISTS (SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = %(space)s AND objid::bigint = %(key)s) AS has_leader

-- name: last_hour
-- What came or was derived in the last hour, by type.
SELECT event_type, count(*) AS count FROM market_lifecycle_events
    WHERE received_at > now() - interval '1 hour'
    GROUP BY event_type ORDER BY count DESC, event_type

-- name: last_gaps
-- The last intervals of unknown.
SELECT reason, began_at, ended_at, repaired_at, changed FROM lifecycle_gaps ORDER BY id DESC LIMIT 5

-- name: series_of
-- The series of a market, else of an event.
SELECT coalesce(
    (SELECT series_ticker FROM markets WHERE ticker = %(market)s),
    (SELECT series_ticker FROM events WHERE event_ticker = %(event)s))
