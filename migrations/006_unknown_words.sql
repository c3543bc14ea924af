-- A status that nobody knows yet is kept whole; a run says which fields it rejected and which rows
-- it did not read.

ALTER TABLE sync_runs
    -- [{table, ticker, field, reason}]: unreadable fields of rows that were written without them.
    ADD COLUMN rejected_fields jsonb NOT NULL DEFAULT '[]',
    -- Of what the run's scope selects, the rows that it did not read; NULL where it covers nothing,
    -- and in rows of versions before this one, whose 'ok' means that all was read.
    ADD COLUMN unread text[];

-- Sessions of sync before this version keep temporary views that forbid to change a column. They are
-- ended: what they had begun is read again, and no new one gets as far until this is committed.
LOCK TABLE markets IN ACCESS EXCLUSIVE MODE;

DO $block$
BEGIN
    FOR attempt IN 1..100 LOOP
        EXIT WHEN NOT EXISTS (
            SELECT FROM pg_depend d
            JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
            JOIN pg_class v ON v.oid = r.ev_class
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'markets'::regclass
            AND v.relpersistence = 't' AND v.relname LIKE 'judged\_%');
        PERFORM pg_stat_clear_snapshot();
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND (application_name = 'ssmd-cli-sync' OR application_name ~ '^ssmd-sync(-|$)');
        PERFORM pg_sleep(0.1);
    END LOOP;
END
$block$;

-- Its condition names the column.
DROP TRIGGER markets_due_updated ON markets;

ALTER TABLE markets ALTER COLUMN exchange_status TYPE text;

CREATE TRIGGER markets_due_updated AFTER UPDATE ON markets FOR EACH ROW
    WHEN ((OLD.status, OLD.open_time, OLD.close_time, OLD.exchange_status)
            IS DISTINCT FROM (NEW.status, NEW.open_time, NEW.close_time, NEW.exchange_status)
        AND NEW.status IN ('open', 'active')
        AND (NEW.close_time < clock_timestamp() + interval '10 seconds'
            OR (NEW.status = 'open' AND NEW.open_time < clock_timestamp() + interval '10 seconds')))
    EXECUTE FUNCTION announce_due_market();
