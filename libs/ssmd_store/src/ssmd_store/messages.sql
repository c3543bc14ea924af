-- Rows come as one JSON array and are read by the table's own row type. Where a row is changed, what
-- the JSON does not name stays as it is stored (`jsonb_populate_record` of the stored row).
-- {columns} and the like are filled from `ssmd_store.states`, so that no column can be forgotten.

-- name: deleted_at
-- A time of deletion that Python cannot hold is a deletion nevertheless.
CASE WHEN deleted_at IS NOT NULL
    THEN greatest(least(deleted_at, '9999-12-31Z'), '0001-01-01Z') END AS deleted_at

-- name: insert_rows
-- New rows; one that another writer was faster with is left alone.
INSERT INTO {table} ({columns})
    SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %(rows)s::jsonb)
    ORDER BY {key}
    ON CONFLICT ({key}) DO NOTHING

-- name: update_rows
-- What messages changed of locked rows.
UPDATE {table} m
    SET ({columns}) = (SELECT {given} FROM jsonb_populate_record(m, d.doc) g), updated_at = now()
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    WHERE m.{key} = d.doc ->> {key_name}
