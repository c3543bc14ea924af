SELECT history.watch('series_fees', key => '{series_ticker, effective_from}');
SELECT history.watch('fees', key => '{tier}');

-- All is watched from here on: the record begins.
INSERT INTO history.spans (began, known_from, identity, ended, seen)
SELECT n, clock_timestamp(), history.identity(), n, pg_current_snapshot() FROM nextval('history.counter') n;
