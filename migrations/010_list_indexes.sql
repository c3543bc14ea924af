-- Each order of a list has an index (docs/decisions/0035): read forwards it ascends, backwards it
-- descends. Those on what is traded make an update of it touch every index of the table.

CREATE INDEX series_volume ON series (volume, ticker);

CREATE INDEX events_strike ON events (strike_date, event_ticker);

CREATE INDEX markets_close ON markets (close_time, ticker);
CREATE INDEX markets_volume ON markets (volume, ticker);
CREATE INDEX markets_volume_24h ON markets (volume_24h, ticker);
CREATE INDEX markets_open_interest ON markets (open_interest, ticker);

-- The same with the ticker, so that of one status the whole order is the index's.
CREATE INDEX markets_status_closing ON markets (status, close_time, ticker);
DROP INDEX markets_status_close;
