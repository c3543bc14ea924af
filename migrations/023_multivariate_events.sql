-- Multivariate events (docs/decisions/0051) outnumber the others: each index of a list is of the one kind or of the other,
-- so that a list without them is as fast as if they were not there. By what they do not have they are in no order.

ALTER TABLE events ADD COLUMN mve_collection_ticker text;
SELECT history.watch('events');

UPDATE events e SET mve_collection_ticker = m.collection, updated_at = now()
    FROM (SELECT event_ticker, min(mve_collection_ticker) AS collection FROM markets
          WHERE mve_collection_ticker IS NOT NULL GROUP BY event_ticker) m
    WHERE m.event_ticker = e.event_ticker;

DROP INDEX events_series, events_category, events_status, events_strike, events_search;

CREATE INDEX events_listed ON events (event_ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_series ON events (series_ticker, event_ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_category ON events (category) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_status ON events (status, strike_date) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_strike ON events (strike_date, event_ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_search ON events USING gin ((event_ticker || ' ' || coalesce(title, '')) gin_trgm_ops)
    WHERE mve_collection_ticker IS NULL;

CREATE INDEX events_multivariate ON events (event_ticker) WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX events_multivariate_series ON events (series_ticker, event_ticker)
    WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX events_multivariate_status ON events (status, event_ticker) WHERE mve_collection_ticker IS NOT NULL;
CREATE INDEX events_multivariate_collection ON events (mve_collection_ticker, event_ticker)
    WHERE mve_collection_ticker IS NOT NULL;

-- What stands on a partial index alone, the planner does not believe: of titles, and of which series are multivariate.
CREATE STATISTICS events_text ON (event_ticker || ' ' || coalesce(title, '')) FROM events;
CREATE STATISTICS events_kinds (mcv, dependencies) ON series_ticker, category, mve_collection_ticker FROM events;
