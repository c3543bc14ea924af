-- What was done with API keys: who made and who revoked which, from where. Rows are only added; not published.

CREATE TABLE api_key_audit (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    action         text NOT NULL CHECK (action IN ('made', 'revoked')),
    key_id         bigint NOT NULL,
    key_prefix     text NOT NULL,
    key_name       text NOT NULL,
    -- The name of the key that asked the API, or the user of `ssmd keys`.
    actor          text NOT NULL,
    actor_key_id   bigint,
    -- The client's address, or the machine of `ssmd keys`.
    origin         text,
    request_id     text
);

INSERT INTO api_key_audit (at, action, key_id, key_prefix, key_name, actor)
SELECT at, action, id, key_prefix, name, 'unknown: before this was kept'
FROM (
    SELECT created_at AS at, 'made' AS action, id, key_prefix, name FROM api_keys
    UNION ALL
    SELECT revoked_at, 'revoked', id, key_prefix, name FROM api_keys WHERE revoked_at IS NOT NULL
) before
ORDER BY at;
