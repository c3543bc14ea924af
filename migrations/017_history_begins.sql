-- All is watched from here on: the record begins.
INSERT INTO history.spans (began, known_from, identity, ended, seen)
SELECT n, clock_timestamp(), history.identity(), n, pg_current_snapshot() FROM nextval('history.counter') n;
