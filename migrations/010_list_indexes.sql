-- Each order of a list has an index (docs/decisions/0035): read forwards it ascends, backwards it
-- descends. While they are made (a second or two for 100,000 markets) writers wait.

CREATE INDEX series_volume ON series (volume, ticker);
CREATE INDEX series_games ON series (ticker) WHERE is_game;

CREATE INDEX events_strike ON events (strike_date, event_ticker);

CREATE INDEX markets_close ON markets (close_time, ticker);
-- With these an update of what is traded touches every index of the table: twice the work.
CREATE INDEX markets_volume ON markets (volume, ticker);
CREATE INDEX markets_volume_24h ON markets (volume_24h, ticker);
CREATE INDEX markets_open_interest ON markets (open_interest, ticker);

-- Of one status, the whole order; of one event, whether some market closes in a time.
CREATE INDEX markets_status_closing ON markets (status, close_time, ticker);
CREATE INDEX markets_event_closing ON markets (event_ticker, close_time);
DROP INDEX markets_status_close, markets_event;
