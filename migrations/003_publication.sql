-- What the change stream carries. FULL, so that a change can say what a row was before.

ALTER TABLE series REPLICA IDENTITY FULL;
ALTER TABLE events REPLICA IDENTITY FULL;
ALTER TABLE markets REPLICA IDENTITY FULL;
ALTER TABLE series_fees REPLICA IDENTITY FULL;
ALTER TABLE fees REPLICA IDENTITY FULL;
ALTER TABLE market_lifecycle_events REPLICA IDENTITY FULL;

CREATE PUBLICATION secmaster_cdc FOR TABLE
    series, events, markets, series_fees, fees, market_lifecycle_events;
