-- `market_lifecycle_events`. Rows come as one JSON array and are read by the table's own row type.
-- {columns} and the like are filled from ssmd_common.models.

-- name: insert_rows
-- Keep messages and the clock's transitions; what is stored already (by dedupe_key) is left alone.
INSERT INTO market_lifecycle_events ({columns})
    SELECT {columns}
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb)
    ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING dedupe_key

-- name: insert_backfilled
-- Transitions that only REST reported, where no row of them exists: the clock's by their key, a pause
-- or its end where the last row says otherwise, all others once for a market.
INSERT INTO market_lifecycle_events ({columns})
    SELECT {columns}
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb)
        WITH ORDINALITY AS g
    WHERE CASE
        WHEN event_type = 'opened' THEN true
        -- A message that decided a market before its time closed it, too.
        WHEN event_type = 'closed' THEN NOT EXISTS (
            SELECT FROM market_lifecycle_events l
            WHERE l.market_ticker = g.market_ticker AND l.event_type = 'determined')
        WHEN event_type IN ('activated', 'deactivated') THEN event_type <> coalesce((
            SELECT l.event_type FROM market_lifecycle_events l
            WHERE l.market_ticker = g.market_ticker
            AND l.event_type IN ('activated', 'deactivated')
            ORDER BY coalesce(l.sent_at, l.received_at) DESC LIMIT 1), 'activated')
        ELSE NOT EXISTS (
            SELECT FROM market_lifecycle_events l
            WHERE l.market_ticker = g.market_ticker AND l.event_type = g.event_type) END
    ORDER BY ordinality
    ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING dedupe_key

-- name: replace_backfilled
-- Messages that come after all, of transitions that REST has reported already: the row becomes theirs.
UPDATE market_lifecycle_events l SET ({columns}) = ROW({given})
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb) g
    CROSS JOIN LATERAL (
        SELECT id FROM market_lifecycle_events b
        WHERE b.market_ticker = g.market_ticker AND b.event_type = g.event_type
        AND b.metadata ->> 'source' = 'rest'
        AND b.received_at >= coalesce(g.sent_at, g.received_at)
        ORDER BY b.received_at LIMIT 1) backfilled
    WHERE l.id = backfilled.id
    AND NOT EXISTS (SELECT FROM market_lifecycle_events k WHERE k.dedupe_key = g.dedupe_key)
    RETURNING l.dedupe_key

-- name: free_keys
-- The clock's rows of transitions that are reversed: their keys are free for those that are to come.
UPDATE market_lifecycle_events
    SET dedupe_key = encode(sha256(convert_to(dedupe_key || ' ' || id, 'UTF8')), 'hex')
    WHERE dedupe_key = ANY(%(keys)s)

-- name: expire_rows
-- One small batch of rows older than the retention.
DELETE FROM market_lifecycle_events WHERE id IN (
    SELECT id FROM market_lifecycle_events WHERE received_at < %(before)s
    ORDER BY received_at LIMIT %(limit)s)
