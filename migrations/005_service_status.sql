-- How every process of ours is, written by itself every few seconds and at each change. A row that has
-- become old is of a process that is gone. Not published: nothing of it is in the change stream.

CREATE TABLE service_status (
    service            text NOT NULL,
    instance           text NOT NULL,
    host               text NOT NULL,
    pid                integer NOT NULL,
    state              text NOT NULL,
    ready              boolean NOT NULL,
    reasons            jsonb NOT NULL,
    degraded           jsonb NOT NULL,
    position           jsonb NOT NULL,
    lag_seconds        double precision,
    work               double precision NOT NULL,
    work_per_second    double precision,
    errors             double precision NOT NULL,
    memory_bytes       bigint,
    last_error         text,
    last_error_at      timestamptz,
    version            text NOT NULL,
    system_identifier  text,
    timeline           integer,
    started_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (service, instance)
)
-- Room on each page for the next versions of its rows: no update touches the index.
WITH (fillfactor = 25, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
