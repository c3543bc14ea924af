-- What was known when (docs/history.md). Every change of a watched table leaves an event in `history`, in
-- the writer's own transaction, whoever writes: the row as it was, or that it was not there before.
--
-- One counter orders everything. A transaction takes a number at its first event (`transaction`) and
-- another as it ends (`commits.ended`); each event takes one, too. As of `s`, a transaction counts if it
-- has ended by `s`. Events of one row are in the order of its changes, because its lock is held; each names
-- the transaction of the one before (`since`).
--
-- The row as of a moment is then what its first event that does not count yet has kept, and the row in the
-- table if all of its events count.

CREATE SCHEMA history;

CREATE SEQUENCE history.counter;
-- The time of the latest commit, in microseconds since 1970. A sequence, because a transaction sees it
-- whatever its snapshot is.
CREATE SEQUENCE history.clock MINVALUE 0;

-- From `known_from` on nothing was missed. Between `unknown_since` and then something may have been; before
-- the first, and where there is no `unknown_since`, nothing is known. A database that was restored from a
-- dump, or copied, is another one than `identity` says: its first change begins a new span.
-- What had ended before: numbers up to `ended`, and what `seen` sees, valid as the xids of this database are.
CREATE TABLE history.spans (
    began          bigint PRIMARY KEY,
    unknown_since  timestamptz,
    known_from     timestamptz NOT NULL,
    identity       text NOT NULL,
    ended          bigint NOT NULL,
    seen           pg_snapshot NOT NULL
);

-- A transaction that left events, written as it ends. `xid` is valid within its span.
CREATE TABLE history.commits (
    began  bigint NOT NULL,
    ended  bigint NOT NULL,
    at     timestamptz NOT NULL,
    xid    xid8 NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX commits_at ON history.commits (at);
CREATE INDEX commits_began ON history.commits (began);
CREATE INDEX commits_xid ON history.commits (xid);
-- Those during which many others began and ended; the others are found by `began`.
CREATE INDEX commits_long ON history.commits USING gist (int8range(began, ended))
    WHERE ended - began > 1000;
CREATE TABLE history.commits_default PARTITION OF history.commits DEFAULT;

-- Where the database's clock stepped back: of what ended from `ended` on, times begin again at `at`.
CREATE TABLE history.steps (
    ended  bigint PRIMARY KEY,
    at     timestamptz NOT NULL
);

-- What is watched: the key's columns; those that change all the time and are not kept; and those that each
-- event has beside `was`, for filters.
CREATE TABLE history.watched (
    name      text PRIMARY KEY,
    key       text[] NOT NULL,
    volatile  text[] NOT NULL,
    filters   text[] NOT NULL
);

CREATE AGGREGATE history.merged (jsonb) (SFUNC = jsonb_concat, STYPE = jsonb, INITCOND = '{}');

-- Which database this is: of a copy it says something else.
CREATE FUNCTION history.identity() RETURNS text LANGUAGE sql STABLE AS $function$
    SELECT concat_ws('.', (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        'history.spans'::regclass::oid)
$function$;

-- Begin a span where this is not the database of the last one; whether it did. Two that do so at once
-- both begin one, which is harmless: nobody waits here.
CREATE FUNCTION history.notice(began bigint DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    last history.spans;
BEGIN
    SELECT s.* INTO last FROM history.spans s ORDER BY s.began DESC LIMIT 1;
    -- None: the migration begins the first when all is watched.
    IF last.identity IS NULL OR last.identity = history.identity() THEN
        RETURN false;
    END IF;
    began := coalesce(began, nextval('history.counter'));
    INSERT INTO history.spans VALUES (
        began,
        greatest(last.known_from, (SELECT max(c.at) FROM history.commits c)),
        clock_timestamp(), history.identity(), began, pg_current_snapshot());
    RETURN true;
END
$function$;

CREATE FUNCTION history.stamp() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    now    timestamptz;
    before timestamptz := (SELECT to_timestamp(c.last_value / 1e6) FROM history.clock c);
    ended  bigint;
BEGIN
    PERFORM history.notice(NEW.transaction);
    now := clock_timestamp();
    ended := nextval('history.counter');
    -- Of two that end at once the later one may have read the clock first: that is no step.
    IF now < before - interval '1 second' THEN
        INSERT INTO history.steps VALUES (ended, now);
    END IF;
    PERFORM setval('history.clock', (extract(epoch FROM now) * 1e6)::bigint);
    INSERT INTO history.commits VALUES (NEW.transaction, ended, now, pg_current_xact_id());
    -- Where constraints are immediate, what comes now is another transaction to history.
    PERFORM set_config('ssmd_history.transaction', '', true);
    RETURN NULL;
END
$function$;

-- The number of this very transaction, if it has left events.
CREATE FUNCTION history.own() RETURNS bigint LANGUAGE plpgsql STABLE AS $function$
DECLARE
    said   text := current_setting('ssmd_history.transaction', true);
    this   text := pg_current_xact_id_if_assigned()::text || ':';
    number text := substr(said, length(this) + 1);
BEGIN
    -- Anyone may have written anything there, and no writer must fail because of that.
    IF starts_with(said, this) AND length(number) BETWEEN 1 AND 18 AND translate(number, '0123456789', '') = ''
    THEN
        RETURN number::bigint;
    END IF;
    RETURN NULL;
END
$function$;

-- The place of the next event, and the transaction that it belongs to.
CREATE TYPE history.place AS (number bigint, transaction bigint);

CREATE FUNCTION history.place() RETURNS history.place LANGUAGE plpgsql AS $function$
DECLARE
    number bigint := nextval('history.counter');
    own    bigint := history.own();
BEGIN
    IF own IS NULL THEN
        -- Of this transaction alone, and taken back with a savepoint: a later event is the first one then.
        PERFORM set_config('ssmd_history.transaction', pg_current_xact_id()::text || ':' || number, true);
        own := number;
    END IF;
    RETURN (number, own)::history.place;
END
$function$;
