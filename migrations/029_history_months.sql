-- The months of history are there before anybody writes. Until now sync made the first ones beside the others: a writer on
-- its way to the default partition failed once, and a slot that cdc began meanwhile could not be read (PostgreSQL, 15 to 18).

DO $do$
BEGIN
    PERFORM history.maintain('1000 years');
EXCEPTION WHEN lock_not_available THEN
    -- A database in use has months, and sync makes the next ones in time.
    NULL;
END
$do$;
