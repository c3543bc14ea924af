-- What was asked of a service through the API, one row each; the service that it is for watches them. Not published:
-- nothing of it is in the change stream.

CREATE TABLE requests (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service          text NOT NULL,
    -- A job of sync, or `verify` of cache.
    task             text NOT NULL,
    state            text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    asked_at         timestamptz NOT NULL DEFAULT now(),
    -- The name of the key that asked the API.
    asked_by         text NOT NULL,
    key_id           bigint NOT NULL,
    idempotency_key  text,
    request_id       text,
    -- Which process answers it, and how many have begun to.
    worker           text,
    attempts         integer NOT NULL DEFAULT 0,
    started_at       timestamptz,
    finished_at      timestamptz,
    result           jsonb,
    error            text,
    UNIQUE (key_id, idempotency_key)
);

CREATE INDEX requests_open ON requests (service, task) WHERE finished_at IS NULL;
CREATE INDEX requests_asked_at ON requests (asked_at);
