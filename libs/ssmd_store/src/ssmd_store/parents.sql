-- name: add_series
-- Series that only an event or a message mentions: a page completes them.
INSERT INTO series (ticker, is_game)
    SELECT g.ticker, g.is_game
    FROM unnest(%(tickers)s::text[], %(is_game)s::boolean[]) AS g(ticker, is_game)
    LEFT JOIN series s ON s.ticker = g.ticker
    WHERE s.ticker IS NULL
    ORDER BY g.ticker
    ON CONFLICT (ticker) DO NOTHING

-- name: lock_rows
-- Those of some rows that are there, in ticker order.
SELECT {columns} FROM {table} WHERE {key} = ANY(%(tickers)s) ORDER BY {key} FOR NO KEY UPDATE

-- name: recompute_events
-- What of locked events follows from their markets: the status (docs/contracts.md, status rules), and
-- whether they are multivariate.
UPDATE events e SET status = c.status,
        mve_collection_ticker = coalesce(e.mve_collection_ticker, c.collection), updated_at = now()
    FROM (
        SELECT t.event_ticker, CASE
            WHEN count(m.ticker) = 0 OR bool_or(m.status IN ('open', 'active')) THEN 'open'
            WHEN bool_and(m.status = 'settled') THEN 'settled'
            ELSE 'closed' END AS status, min(m.mve_collection_ticker) AS collection
        FROM unnest(%(tickers)s::text[]) AS t(event_ticker)
        LEFT JOIN markets m ON m.event_ticker = t.event_ticker AND m.deleted_at IS NULL
        GROUP BY t.event_ticker) c
    WHERE e.event_ticker = c.event_ticker
    AND (e.status <> c.status OR (e.mve_collection_ticker IS NULL AND c.collection IS NOT NULL))
