-- Rows that a run rejected whole have the name that rejected fields have.

ALTER TABLE sync_runs ADD COLUMN rejected_rows jsonb NOT NULL DEFAULT '[]';

UPDATE sync_runs SET rejected_rows = set_aside WHERE set_aside <> '[]';

-- The old name stays for one version: what writes or reads it may still run.
COMMENT ON COLUMN sync_runs.set_aside IS 'the old name of rejected_rows, removed by the next version';

CREATE FUNCTION sync_runs_old_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.rejected_rows = (CASE TG_OP WHEN 'UPDATE' THEN OLD.rejected_rows ELSE '[]' END) THEN
        NEW.rejected_rows := NEW.set_aside;
    ELSE
        NEW.set_aside := NEW.rejected_rows;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER sync_runs_old_name BEFORE INSERT OR UPDATE ON sync_runs
    FOR EACH ROW EXECUTE FUNCTION sync_runs_old_name();
