-- name: publication
-- The publisher's memory: its epoch and last position.
SELECT epoch, lsn::text, seq FROM cdc_state ORDER BY updated_at DESC LIMIT 1

-- name: last_sync
-- When the last sync ended that read what it was to read, whatever single rows it rejected.
SELECT max(finished_at) FROM sync_runs WHERE outcome = 'ok' OR unread IS NOT NULL

-- name: series
-- Every series.
SELECT convert_to({row}, 'UTF8') FROM series t

-- name: events
-- Events that may have a key at `now`, and those whose category an open or active market needs.
-- Multivariate events and markets have no keys.
SELECT convert_to({row}, 'UTF8') FROM events t
-- A time that Python cannot hold counts as none; to add to one here might overflow.
WHERE t.mve_collection_ticker IS NULL AND (t.deleted_at IS NULL
      AND (t.status = 'open'
           OR CASE WHEN t.strike_date >= '0001-01-01Z' AND t.strike_date < '10000-01-01Z'
                   THEN t.strike_date ELSE t.updated_at
              END >= %(now)s - interval '1 day')
   OR EXISTS (SELECT FROM markets m
              WHERE m.event_ticker = t.event_ticker AND m.status IN ('open', 'active')
                    AND m.deleted_at IS NULL))

-- name: markets
-- Markets that may have a key at `now`, each with its category: its event's, else its series'.
SELECT convert_to({row}, 'UTF8'), coalesce(nullif(e.category, ''), s.category, '')
FROM markets t
JOIN events e ON e.event_ticker = t.event_ticker
JOIN series s ON s.ticker = e.series_ticker
WHERE t.deleted_at IS NULL AND t.mve_collection_ticker IS NULL
      AND (t.status IN ('open', 'active', 'closed')
           OR CASE WHEN t.close_time >= '0001-01-01Z' AND t.close_time < '10000-01-01Z'
                   THEN least(t.close_time,
                              CASE WHEN t.settled_time >= '0001-01-01Z' THEN t.settled_time END)
                   ELSE t.updated_at
              END >= %(now)s - interval '1 day')

-- name: series_fees
-- Every fee schedule: all steps of a series.
SELECT array_agg(convert_to({row}, 'UTF8')) FROM series_fees t GROUP BY t.series_ticker

-- name: one_series
-- The series with these tickers.
SELECT convert_to({row}, 'UTF8') FROM series t WHERE t.ticker = ANY(%(tickers)s)

-- name: one_events
-- The events with these tickers.
SELECT convert_to({row}, 'UTF8') FROM events t WHERE t.event_ticker = ANY(%(tickers)s)

-- name: one_markets
-- The markets with these tickers.
SELECT convert_to({row}, 'UTF8') FROM markets t WHERE t.ticker = ANY(%(tickers)s)

-- name: one_series_fees
-- The fee schedules of these series.
SELECT convert_to({row}, 'UTF8') FROM series_fees t WHERE t.series_ticker = ANY(%(tickers)s)

-- name: sample_markets
-- Some markets, by chance.
SELECT ticker FROM markets WHERE mve_collection_ticker IS NULL ORDER BY random() LIMIT %(count)s
