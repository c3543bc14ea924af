-- Times that Python cannot hold (infinity, before the year 1, after 9999) count as none: a comparison
-- that one of them would decide leaves it out.

-- name: due_openings
-- Markets whose open_time has come (`ssmd_lifecycle.clock.timed.due` is the same rule).
SELECT ticker, event_ticker, open_time FROM markets
    WHERE status = 'open' AND open_time BETWEEN '0001-01-01Z' AND %(now)s AND deleted_at IS NULL
    AND (exchange_status = 'initialized' OR exchange_status IS NULL)
    AND (observed_via IS DISTINCT FROM 'rest' OR observed_at IS NULL
        OR observed_at > %(now)s + %(ahead)s OR observed_at < open_time + %(grace)s)
    ORDER BY open_time LIMIT %(limit)s

-- name: due_closings
-- Markets whose close_time has come.
SELECT ticker, event_ticker, close_time FROM markets
    WHERE status IN ('open', 'active') AND close_time BETWEEN '0001-01-01Z' AND %(now)s
    AND deleted_at IS NULL
    ORDER BY close_time LIMIT %(limit)s

-- name: lock_openings
-- Those of some markets that still are due to open, under their parents' locks.
SELECT ticker, event_ticker, open_time FROM markets
    WHERE ticker = ANY(%(tickers)s) AND status = 'open'
    AND open_time BETWEEN '0001-01-01Z' AND %(now)s AND deleted_at IS NULL
    AND (exchange_status = 'initialized' OR exchange_status IS NULL)
    ORDER BY ticker FOR NO KEY UPDATE

-- name: lock_closings
-- Those of some markets that still are due to close, under their parents' locks.
SELECT ticker, event_ticker, close_time FROM markets
    WHERE ticker = ANY(%(tickers)s) AND status IN ('open', 'active')
    AND close_time BETWEEN '0001-01-01Z' AND %(now)s AND deleted_at IS NULL
    ORDER BY ticker FOR NO KEY UPDATE

-- name: transition_markets
-- The clock's transition of locked markets.
UPDATE markets SET status = %(status)s, observed_at = %(now)s, observed_via = 'clock',
        updated_at = now()
    WHERE ticker = ANY(%(tickers)s)

-- name: early_transitions
-- Markets that a clock opened or closed before their time, by ours and the server's: the exchange_status
-- is one of trading, and the time is to come. What the exchange itself closed has another one.
SELECT kind, ticker, event_ticker, at, status, exchange_status, open_time FROM (
    SELECT 'closed' AS kind, ticker, event_ticker, close_time AS at, status, exchange_status,
        CASE WHEN open_time BETWEEN '0001-01-01Z' AND '9999-12-31Z' THEN open_time END AS open_time
        -- Each kind has an index of its own of what is closed.
        FROM (SELECT * FROM markets WHERE mve_collection_ticker IS NULL
            UNION ALL SELECT * FROM markets WHERE mve_collection_ticker IS NOT NULL) AS each_kind
        WHERE status = 'closed' AND deleted_at IS NULL
        AND close_time > greatest(%(after)s, now() + %(margin)s) AND close_time < '10000-01-01Z'
        AND (exchange_status IN ('initialized', 'active', 'inactive')
            OR (exchange_status IS NULL AND observed_via = 'clock'))
    UNION ALL
    SELECT 'opened', ticker, event_ticker, open_time, status, exchange_status, open_time
        FROM markets
        WHERE status = 'active' AND deleted_at IS NULL
        AND open_time > greatest(%(after)s, now() + %(margin)s) AND open_time < '10000-01-01Z'
        AND (exchange_status = 'initialized'
            OR (exchange_status IS NULL AND observed_via = 'clock'))) AS early
    WHERE %(tickers)s::text[] IS NULL OR ticker = ANY(%(tickers)s)
    ORDER BY at DESC LIMIT %(limit)s

-- name: due_at
-- What will be due at one moment, as it stands now.
SELECT 'opened', ticker, event_ticker, open_time FROM markets
    WHERE status = 'open' AND open_time = %(moment)s AND deleted_at IS NULL
    AND (exchange_status = 'initialized' OR exchange_status IS NULL)
UNION ALL
SELECT 'closed', ticker, event_ticker, close_time FROM markets
    WHERE status IN ('open', 'active') AND close_time = %(moment)s AND deleted_at IS NULL

-- name: made_by_others
-- Which of some expected transitions have come to pass, at the moment that was expected.
SELECT t.kind, t.ticker
    FROM unnest(%(kinds)s::text[], %(tickers)s::text[], %(moments)s::timestamptz[])
        AS t(kind, ticker, moment)
    JOIN markets m ON m.ticker = t.ticker AND m.deleted_at IS NULL
    WHERE (t.kind = 'opened' AND m.open_time = t.moment
            AND m.status IN ('active', 'closed', 'settled'))
    OR (t.kind = 'closed' AND m.close_time = t.moment AND m.status IN ('closed', 'settled'))

-- name: next_due
-- When the clock has to act next, after a time; NULL if never.
SELECT least(
    (SELECT min(open_time) FROM markets
        WHERE status = 'open' AND open_time > %(now)s AND open_time < '10000-01-01Z'
        AND deleted_at IS NULL),
    (SELECT min(close_time) FROM markets
        WHERE status = 'open' AND close_time > %(now)s AND close_time < '10000-01-01Z'
        AND deleted_at IS NULL),
    (SELECT min(close_time) FROM markets
        WHERE status = 'active' AND close_time > %(now)s AND close_time < '10000-01-01Z'
        AND deleted_at IS NULL))
