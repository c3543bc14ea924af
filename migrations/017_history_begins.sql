-- All is watched from here on: the record begins.
INSERT INTO history.spans VALUES (nextval('history.counter'), clock_timestamp(), NULL, history.identity());
