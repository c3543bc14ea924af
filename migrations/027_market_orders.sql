-- The category of the markets that are there, and the orders of lists with what filters them (docs/decisions/0056): what
-- stands behind an order's own columns is compared in the index, before a row is read. While this is done (some seconds
-- for 100,000 markets) writers wait, and readers do not: the old indexes go last.

DO $migration$
BEGIN
    -- Writers have an event before its markets.
    LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
    UPDATE markets m SET category = coalesce(e.category, s.category), updated_at = now()
        FROM events e JOIN series s ON s.ticker = e.series_ticker
        WHERE e.event_ticker = m.event_ticker AND m.mve_collection_ticker IS NULL
            AND m.category IS DISTINCT FROM coalesce(e.category, s.category);
END
$migration$;

CREATE INDEX markets_category ON markets (category, ticker, status) WHERE mve_collection_ticker IS NULL;

CREATE INDEX markets_by_close ON markets (close_time, ticker, category, series_ticker)
    WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_by_status ON markets (status, close_time, ticker, category) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_by_volume ON markets (volume, ticker, category, status, series_ticker)
    WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_by_volume_24h ON markets (volume_24h, ticker, category, status, series_ticker)
    WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_by_open_interest ON markets (open_interest, ticker, category, status, series_ticker)
    WHERE mve_collection_ticker IS NULL;

DROP INDEX markets_close, markets_status_closing, markets_volume, markets_volume_24h, markets_open_interest;
ALTER INDEX markets_by_close RENAME TO markets_close;
ALTER INDEX markets_by_status RENAME TO markets_status_closing;
ALTER INDEX markets_by_volume RENAME TO markets_volume;
ALTER INDEX markets_by_volume_24h RENAME TO markets_volume_24h;
ALTER INDEX markets_by_open_interest RENAME TO markets_open_interest;

-- What is multivariate is in none of these: which series are, and which category has how many, the planner is told.
DROP STATISTICS markets_kinds;
CREATE STATISTICS markets_kinds (mcv, dependencies) ON series_ticker, category, mve_collection_ticker FROM markets;
