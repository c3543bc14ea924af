-- The orders of lists of events, as those of markets (027). Few events have no category of their own: these are in indexes by
-- themselves, of which their series are looked up.

CREATE INDEX events_by_category ON events (category, event_ticker) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_category_strike ON events (category, strike_date, event_ticker)
    WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_uncategorised ON events (event_ticker)
    WHERE mve_collection_ticker IS NULL AND category IS NULL;
CREATE INDEX events_uncategorised_strike ON events (strike_date, event_ticker)
    WHERE mve_collection_ticker IS NULL AND category IS NULL;
CREATE INDEX events_by_ticker ON events (event_ticker, status) WHERE mve_collection_ticker IS NULL;
CREATE INDEX events_by_strike ON events (strike_date, event_ticker, series_ticker)
    WHERE mve_collection_ticker IS NULL;

DROP INDEX events_category, events_listed, events_strike;
ALTER INDEX events_by_category RENAME TO events_category;
ALTER INDEX events_by_ticker RENAME TO events_listed;
ALTER INDEX events_by_strike RENAME TO events_strike;
