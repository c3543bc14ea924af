-- name: take_migration_lock
-- One run at a time; held until the connection ends, so also past the commit of a killed run.
SELECT pg_advisory_lock(%s, %s);

-- name: try_migration_lock
-- Whether the lock was free, so that a second run can say that it waits.
SELECT pg_try_advisory_lock(%s, %s);

-- name: has_migration_table
-- Whether any migration was ever applied by `ssmd db migrate`.
SELECT to_regclass('_yoyo_migration') IS NOT NULL;

-- name: applied_migrations
-- What was applied, and when.
SELECT migration_id, applied_at_utc FROM _yoyo_migration ORDER BY migration_id;

-- name: has_history
-- Whether this version has it.
SELECT to_regproc('history.notice') IS NOT NULL;

-- name: notice_history
-- From here on history is known of this very database; a restored one does not know what was between.
SELECT history.notice();
