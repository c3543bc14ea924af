-- The legs of multivariate markets, and the indexes of markets as those of events (023).

ALTER TABLE markets ADD COLUMN mve_selected_legs jsonb;
SELECT history.watch('markets');

UPDATE markets SET mve_selected_legs = extra->'mve_selected_legs',
        extra = nullif(extra - 'mve_selected_legs', '{}'), updated_at = now()
    WHERE mve_collection_ticker IS NOT NULL AND jsonb_typeof(extra->'mve_selected_legs') = 'array';

DROP INDEX markets_series, markets_close, markets_status_closing, markets_volume, markets_volume_24h,
    markets_open_interest, markets_search;

CREATE INDEX markets_listed ON markets (ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_series ON markets (series_ticker, ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_close ON markets (close_time, ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_status_closing ON markets (status, close_time, ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_volume ON markets (volume, ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_volume_24h ON markets (volume_24h, ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_open_interest ON markets (open_interest, ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX markets_search ON markets USING gin ((ticker || ' ' || coalesce(title, '')) gin_trgm_ops)
    WHERE mve_collection_ticker IS NULL;

-- What opens and closes is of both kinds.
CREATE INDEX markets_closing ON markets (status, close_time) WHERE status IN ('open', 'active');

CREATE INDEX markets_multivariate ON markets (ticker) WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX markets_multivariate_series ON markets (series_ticker, ticker)
    WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX markets_multivariate_close ON markets (close_time, ticker) WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX markets_multivariate_status ON markets (status, close_time, ticker)
    WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX markets_multivariate_collection ON markets (mve_collection_ticker, ticker)
    WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX markets_multivariate_legs ON markets USING gin (mve_selected_legs jsonb_path_ops)
    WHERE mve_collection_ticker IS NOT NULL;

CREATE STATISTICS markets_text ON (ticker || ' ' || coalesce(title, '')) FROM markets;
CREATE STATISTICS markets_kinds (mcv, dependencies) ON series_ticker, mve_collection_ticker FROM markets;
