-- One index per filter that the API, the schedulers or retention use; each costs writes, so no others.

CREATE INDEX series_category ON series (category);
CREATE INDEX series_tags ON series USING gin (tags);
CREATE INDEX series_search ON series USING gin ((ticker || ' ' || coalesce(title, '')) gin_trgm_ops);

CREATE INDEX events_series ON events (series_ticker);
CREATE INDEX events_category ON events (category);
CREATE INDEX events_status ON events (status, strike_date);
CREATE INDEX events_search ON events USING gin ((event_ticker || ' ' || coalesce(title, '')) gin_trgm_ops);

CREATE INDEX markets_event ON markets (event_ticker);
CREATE INDEX markets_series ON markets (series_ticker, ticker);
CREATE INDEX markets_status_close ON markets (status, close_time);
CREATE INDEX markets_opening ON markets (open_time) WHERE status = 'open';
CREATE INDEX markets_search ON markets USING gin ((ticker || ' ' || coalesce(title, '')) gin_trgm_ops);

CREATE INDEX lifecycle_market ON market_lifecycle_events (market_ticker, id);
CREATE INDEX lifecycle_event ON market_lifecycle_events (event_ticker, id);
CREATE INDEX lifecycle_received ON market_lifecycle_events (received_at);

CREATE INDEX sync_runs_job ON sync_runs (job, started_at);
