-- What was known when (docs/history.md). Every change of a watched table leaves an event in `history`, in
-- the writer's own transaction, whoever writes: the row as it was, or that it was not there before.
--
-- One counter orders everything. A transaction takes a number at its first event (`transaction`) and
-- another as it ends (`commits.ended`); each event takes one, too. As of `s`, a transaction counts if it
-- has ended by `s`. Events of one row are in the order of its changes, because its lock is held.
--
-- The row as of a moment is then what its first event that does not count yet has kept, and the row in the
-- table if all of its events count.

CREATE SCHEMA history;

CREATE SEQUENCE history.counter;

-- The intervals in which nothing was missed. A database that was restored from a dump, or copied, is
-- another one than the identity of the last span says: a new span begins with its first change.
CREATE TABLE history.spans (
    began              bigint PRIMARY KEY,
    known_from         timestamptz NOT NULL,
    known_until        timestamptz,
    identity           text NOT NULL
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

-- Where the database's clock stepped back: from `began` on, times begin again at `at`.
CREATE TABLE history.steps (
    began  bigint NOT NULL,
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

CREATE FUNCTION history.stamp() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    now    timestamptz := clock_timestamp();
    before timestamptz;
    ended  bigint;
BEGIN
    SELECT c.at INTO before FROM history.commits c ORDER BY c.began DESC LIMIT 1;
    PERFORM history.notice(NEW.transaction, before);
    IF now < before - interval '1 second' THEN
        INSERT INTO history.steps VALUES (NEW.transaction, now);
    END IF;
    ended := nextval('history.counter');
    INSERT INTO history.commits VALUES (NEW.transaction, ended, now, pg_current_xact_id());
    RETURN NULL;
END
$function$;

-- Begin a span where this is not the database of the last one; the first is the migration's. `until` is the last that is known of that.
CREATE FUNCTION history.notice(began bigint, until timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    this text := history.identity();
BEGIN
    IF coalesce(this = (SELECT s.identity FROM history.spans s ORDER BY s.began DESC LIMIT 1), true) THEN
        RETURN;
    END IF;
    -- Of two at once one waits here.
    LOCK TABLE history.spans IN SHARE ROW EXCLUSIVE MODE;
    IF this IS DISTINCT FROM (SELECT s.identity FROM history.spans s ORDER BY s.began DESC LIMIT 1) THEN
        UPDATE history.spans s SET known_until = greatest(s.known_from, until) WHERE s.known_until IS NULL;
        INSERT INTO history.spans VALUES (began, clock_timestamp(), NULL, this);
    END IF;
END
$function$;

CREATE TYPE history.moment AS (last bigint, flying bigint[], lowest bigint);
COMMENT ON TYPE history.moment IS
    'Transactions up to `last` count, but those in `flying`. All below `lowest` count.';

CREATE FUNCTION history.flying(last bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $function$
    SELECT coalesce(array_agg(began), '{}') FROM (
        SELECT c.began FROM history.commits c
        WHERE c.began BETWEEN last - 1000 AND last AND c.ended > last AND c.ended - c.began <= 1000
        UNION ALL
        SELECT c.began FROM history.commits c
        WHERE int8range(c.began, c.ended) @> last AND c.ended - c.began > 1000
    ) found
$function$;

-- What was committed by `at`, by the clock of the database, give or take the time that a commit takes.
CREATE FUNCTION history.moment(at timestamptz) RETURNS history.moment LANGUAGE plpgsql STABLE AS $function$
DECLARE
    found  history.moment;
    first  timestamptz := (SELECT min(s.known_from) FROM history.spans s);
    before timestamptz;
    after  timestamptz;
BEGIN
    IF at > clock_timestamp() OR at IS NULL THEN
        RAISE EXCEPTION 'as of % cannot be told: it is in the future', coalesce(at::text, 'NULL')
            USING ERRCODE = 'SH001';
    ELSIF at < first OR first IS NULL THEN
        RAISE EXCEPTION 'as of % is not known: the record begins at %', at, first
            USING ERRCODE = 'SH002';
    END IF;
    SELECT max(s.known_until) FILTER (WHERE s.known_until < moment.at),
        min(s.known_from) FILTER (WHERE s.known_from > moment.at)
    INTO before, after
    FROM history.spans s
    HAVING NOT bool_or(moment.at >= s.known_from AND (moment.at <= s.known_until OR s.known_until IS NULL
        AND s.identity = history.identity()));
    IF FOUND THEN
        RAISE EXCEPTION 'as of % is not known: the database was restored or copied between % and %', moment.at,
            coalesce(before, (SELECT max(c.at) FROM history.commits c), first), coalesce(after::text, 'now')
            USING ERRCODE = 'SH003';
    END IF;
    -- Times ascend but where the clock stepped back: of each stretch in between the last by then.
    SELECT max(of_stretch.ended) INTO found.last
    FROM (
        SELECT s.began AS start, lead(s.began) OVER (ORDER BY s.began) AS stop
        FROM (SELECT 0::bigint AS began UNION ALL SELECT t.began FROM history.steps t) s
    ) stretch
    CROSS JOIN LATERAL (
        SELECT c.ended FROM history.commits c
        WHERE c.at <= moment.at AND c.began >= stretch.start AND (c.began < stretch.stop OR stretch.stop IS NULL)
        ORDER BY c.at DESC LIMIT 1
    ) of_stretch;
    -- None since the record begins.
    found.last := greatest(found.last, (SELECT max(s.began) FROM history.spans s WHERE s.known_from <= moment.at));
    found.flying := history.flying(found.last);
    found.lowest := coalesce((SELECT min(f) FROM unnest(found.flying) f), found.last + 1);
    RETURN found;
END
$function$;

-- What `snapshot` sees, exactly. The older it is, the longer this takes.
CREATE FUNCTION history.moment(snapshot pg_snapshot) RETURNS history.moment LANGUAGE plpgsql STABLE
AS $function$
DECLARE
    found history.moment;
    span  bigint := (SELECT max(s.began) FROM history.spans s);
BEGIN
    SELECT min(c.began) INTO found.lowest FROM history.commits c
    WHERE c.xid >= pg_snapshot_xmin(snapshot) AND c.began >= span
        AND NOT pg_visible_in_snapshot(c.xid, snapshot);
    IF found.lowest IS NULL THEN
        SELECT coalesce(max(c.ended), 0) INTO found.last FROM history.commits c;
        found.flying := '{}';
        found.lowest := found.last + 1;
        RETURN found;
    END IF;
    SELECT coalesce(max(c.began), found.lowest - 1) INTO found.last FROM history.commits c
    WHERE c.began >= found.lowest AND pg_visible_in_snapshot(c.xid, snapshot);
    SELECT coalesce(array_agg(c.began), '{}') INTO found.flying FROM history.commits c
    WHERE c.began BETWEEN found.lowest AND found.last AND NOT pg_visible_in_snapshot(c.xid, snapshot);
    RETURN found;
END
$function$;

-- The place of the next event, and the transaction that it belongs to.
CREATE TYPE history.place AS (number bigint, transaction bigint);

CREATE FUNCTION history.place() RETURNS history.place LANGUAGE plpgsql AS $function$
DECLARE
    said   text := current_setting('ssmd_history.transaction', true);
    this   text := pg_current_xact_id()::text || ':';
    number bigint := nextval('history.counter');
BEGIN
    IF starts_with(said, this) THEN
        RETURN (number, substr(said, length(this) + 1)::bigint)::history.place;
    END IF;
    -- Of this transaction alone, and taken back with a savepoint: a later event is the first one then.
    PERFORM set_config('ssmd_history.transaction', this || number, true);
    RETURN (number, number)::history.place;
END
$function$;

-- Columns of a table as a list, each as `pattern` has it: %1$I is its name, %2$s its type.
CREATE FUNCTION history.listed(live regclass, names text[], pattern text, separator text DEFAULT ', ')
RETURNS text LANGUAGE sql STABLE AS $function$
    SELECT coalesce(string_agg(format(pattern, a.attname, format_type(a.atttypid, a.atttypmod)), separator
        ORDER BY n.position), '')
    FROM unnest(names) WITH ORDINALITY n (name, position)
    JOIN pg_attribute a ON a.attrelid = live AND a.attname = n.name
$function$;

CREATE FUNCTION history.columns(live regclass) RETURNS text[] LANGUAGE sql STABLE AS $function$
    SELECT array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_attribute a WHERE a.attrelid = live AND a.attnum > 0 AND NOT a.attisdropped
$function$;

-- The text with each {name} as the object says it.
CREATE FUNCTION history.filled(template text, parts jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $function$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT * FROM jsonb_each_text(parts) LOOP
        template := replace(template, '{' || part.key || '}', part.value);
    END LOOP;
    RETURN template;
END
$function$;

-- Watch a table. `key` are the columns of its key; `volatile` those that change all the time and are not
-- kept; `filters` those that an event has beside `was`, so that rows can be chosen by them. What is left out
-- stays as it was told before: to watch added columns, too, say the name alone.
CREATE FUNCTION history.watch(
    name text, key text[] DEFAULT NULL, volatile text[] DEFAULT NULL, filters text[] DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    live     regclass := format('public.%I', name)::regclass;
    it       history.watched;
    columns  text[] := history.columns(live);
    tracked  text[];
    copied   text[];
    parts    jsonb;
    source   text;
    indexed  text;
    is_new   boolean;
BEGIN
    INSERT INTO history.watched AS w
    VALUES (watch.name, coalesce(watch.key, '{}'), coalesce(watch.volatile, '{}'), coalesce(watch.filters, '{}'))
    ON CONFLICT ON CONSTRAINT watched_pkey DO UPDATE SET
        key = coalesce(watch.key, w.key), volatile = coalesce(watch.volatile, w.volatile),
        filters = coalesce(watch.filters, w.filters)
    RETURNING w.* INTO it;
    is_new := to_regclass(format('history.%I', name)) IS NULL;
    copied := it.key || it.filters;
    tracked := ARRAY(SELECT c FROM unnest(columns) WITH ORDINALITY u (c, n) WHERE c <> ALL (it.volatile) ORDER BY n);
    parts := jsonb_build_object(
        'name', name,
        'live', format('public.%I', name),
        'events', format('history.%I', name),
        'volatile', quote_literal(it.volatile) || '::text[]',
        'copied', history.listed(live, copied, '%1$I'),
        'copied of OLD', history.listed(live, copied, 'OLD.%1$I'),
        'copied of gone', history.listed(live, copied, 'gone.%1$I'),
        'key', history.listed(live, it.key, '%1$I'),
        'key of NEW', history.listed(live, it.key, 'NEW.%1$I'),
        'same key', history.listed(live, it.key, 'NEW.%1$I = OLD.%1$I', ' AND '),
        'same row', history.listed(live, it.key, 'r.%1$I = e.%1$I', ' AND '),
        'same as f', history.listed(live, it.key, 'f.%1$I = e.%1$I', ' AND '),
        'tracked of OLD', history.listed(live, tracked, 'OLD.%1$I'),
        'tracked of NEW', history.listed(live, tracked, 'NEW.%1$I'),
        'definitions', history.listed(live, it.key, '%1$I %2$s NOT NULL, ', '')
            || history.listed(live, it.filters, '%1$I %2$s, ', ''),
        'from r', (SELECT string_agg(history.listed(live, ARRAY[c],
                CASE WHEN c = ANY (it.volatile) THEN 'NULL::%2$s' ELSE 'r.%1$I' END), ', ' ORDER BY n)
            FROM unnest(columns) WITH ORDINALITY u (c, n)),
        'from e', (SELECT string_agg(history.listed(live, ARRAY[c],
                CASE WHEN c = ANY (it.volatile) THEN 'NULL::%2$s'
                    WHEN c = ANY (copied) THEN 'e.%1$I' ELSE 'w.%1$I' END), ', ' ORDER BY n)
            FROM unnest(columns) WITH ORDINALITY u (c, n)));

    IF is_new THEN
        EXECUTE history.filled($text$
            CREATE TABLE {events} (
                number       bigint NOT NULL,
                transaction  bigint NOT NULL,
                at           timestamptz NOT NULL,
                kind         "char" NOT NULL,
                {definitions}
                was          jsonb
            ) PARTITION BY RANGE (at);
            CREATE TABLE {events}_default PARTITION OF {events} DEFAULT;
            CREATE INDEX ON {events} ({key}, number);
            CREATE INDEX ON {events} USING brin (number);
            CREATE CONSTRAINT TRIGGER stamp AFTER INSERT ON {events} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW WHEN (NEW.number = NEW.transaction) EXECUTE FUNCTION history.stamp();
            ALTER TABLE {events} ENABLE ALWAYS TRIGGER stamp;
        $text$, parts);
        FOREACH indexed IN ARRAY it.filters LOOP
            IF indexed LIKE '%\_ticker' THEN
                EXECUTE format('CREATE INDEX ON history.%I (%I) WHERE %I IS NOT NULL', name, indexed, indexed);
            END IF;
        END LOOP;
    END IF;

    EXECUTE history.filled($text$
        CREATE OR REPLACE FUNCTION history.record_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            place history.place := history.place();
            was   jsonb;
        BEGIN
            IF TG_OP = 'UPDATE' AND {same key} THEN
                SELECT jsonb_object_agg(o.key, o.value) INTO was
                FROM jsonb_each(to_jsonb(OLD) - {volatile}) o, to_jsonb(NEW) n
                WHERE o.value IS DISTINCT FROM n -> o.key;
                INSERT INTO {events} (number, transaction, at, kind, {copied}, was)
                VALUES (place.number, place.transaction, clock_timestamp(), 'U', {copied of OLD}, was);
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                INSERT INTO {events} (number, transaction, at, kind, {copied}, was)
                VALUES (place.number, place.transaction, clock_timestamp(), 'D', {copied of OLD},
                    to_jsonb(OLD) - {volatile});
            END IF;
            IF TG_OP = 'UPDATE' THEN
                place := history.place();
            END IF;
            IF TG_OP <> 'DELETE' THEN
                INSERT INTO {events} (number, transaction, at, kind, {key})
                VALUES (place.number, place.transaction, clock_timestamp(), 'I', {key of NEW});
            END IF;
            RETURN NULL;
        END
        $body$;

        CREATE OR REPLACE FUNCTION history.record_{name}_born() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            place history.place;
        BEGIN
            IF NOT EXISTS (SELECT FROM born) THEN
                RETURN NULL;
            END IF;
            place := history.place();
            INSERT INTO {events} (number, transaction, at, kind, {key})
            SELECT CASE WHEN row_number() OVER () = 1 THEN place.number ELSE nextval('history.counter') END,
                place.transaction, clock_timestamp(), 'I', {key} FROM born;
            RETURN NULL;
        END
        $body$;

        CREATE OR REPLACE FUNCTION history.record_{name}_gone() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            place history.place;
            gone  {live};
        BEGIN
            FOR gone IN SELECT * FROM {live} LOOP
                place := history.place();
                INSERT INTO {events} (number, transaction, at, kind, {copied}, was)
                VALUES (place.number, place.transaction, clock_timestamp(), 'D', {copied of gone},
                    to_jsonb(gone) - {volatile});
            END LOOP;
            RETURN NULL;
        END
        $body$;

        CREATE OR REPLACE TRIGGER history_inserted AFTER INSERT ON {live}
            REFERENCING NEW TABLE AS born FOR EACH STATEMENT
            EXECUTE FUNCTION history.record_{name}_born();
        CREATE OR REPLACE TRIGGER history_deleted AFTER DELETE ON {live} FOR EACH ROW
            EXECUTE FUNCTION history.record_{name}();
        CREATE OR REPLACE TRIGGER history_updated AFTER UPDATE ON {live} FOR EACH ROW
            WHEN (({tracked of OLD}) IS DISTINCT FROM ({tracked of NEW}))
            EXECUTE FUNCTION history.record_{name}();
        CREATE OR REPLACE TRIGGER history_truncated BEFORE TRUNCATE ON {live} FOR EACH STATEMENT
            EXECUTE FUNCTION history.record_{name}_gone();
        ALTER TABLE {live} ENABLE ALWAYS TRIGGER history_inserted;
        ALTER TABLE {live} ENABLE ALWAYS TRIGGER history_deleted;
        ALTER TABLE {live} ENABLE ALWAYS TRIGGER history_updated;
        ALTER TABLE {live} ENABLE ALWAYS TRIGGER history_truncated;
    $text$, parts);

    EXECUTE history.filled($text$
        CREATE OR REPLACE VIEW history.{name}_changes AS
            SELECT {key}, e.number, c.at, c.xid, e.was,
                CASE e.kind WHEN 'I' THEN 'added' WHEN 'U' THEN 'changed' ELSE 'removed' END AS kind
            FROM {events} e JOIN history.commits c ON c.began = e.transaction
    $text$, parts);

    -- Of an event the next deletion has all that was, and until then each one what it changed.
    FOREACH source IN ARRAY ARRAY['timestamptz', 'pg_snapshot'] LOOP
        EXECUTE history.filled($text$
            CREATE OR REPLACE FUNCTION public.{name}_as_of{suffix}({argument} {source}) RETURNS SETOF {live}
            LANGUAGE sql STABLE AS $body$
                SELECT {from r}
                FROM {live} r
                WHERE NOT EXISTS (
                    SELECT FROM {events} e
                    WHERE {same row} AND e.number >= (SELECT (history.moment({argument})).lowest)
                        AND (e.transaction > (SELECT (history.moment({argument})).last)
                            OR e.transaction = ANY ((SELECT (history.moment({argument})).flying)::bigint[])))
                UNION ALL
                SELECT {from e}
                FROM {events} e
                CROSS JOIN LATERAL (
                    SELECT min(f.number) AS number FROM {events} f
                    WHERE {same as f} AND f.number >= e.number AND f.kind = 'D'
                ) gone
                CROSS JOIN LATERAL jsonb_populate_record(
                    CASE WHEN gone.number IS NULL THEN (SELECT r FROM {live} r WHERE {same row}) END,
                    (SELECT history.merged(f.was ORDER BY f.number DESC) FROM {events} f
                     WHERE {same as f} AND f.kind <> 'I' AND f.number BETWEEN e.number
                        AND coalesce(gone.number, 9223372036854775807))
                ) w
                WHERE e.kind <> 'I'
                    AND e.number >= (SELECT (history.moment({argument})).lowest)
                    AND (e.transaction > (SELECT (history.moment({argument})).last)
                        OR e.transaction = ANY ((SELECT (history.moment({argument})).flying)::bigint[]))
                    AND NOT EXISTS (
                        SELECT FROM {events} f
                        WHERE {same as f} AND f.number < e.number
                            AND f.number >= (SELECT (history.moment({argument})).lowest)
                            AND (f.transaction > (SELECT (history.moment({argument})).last)
                                OR f.transaction = ANY ((SELECT (history.moment({argument})).flying)::bigint[])))
            $body$;
        $text$, parts || jsonb_build_object('source', source,
            'suffix', CASE source WHEN 'pg_snapshot' THEN '_snapshot' ELSE '' END,
            'argument', CASE source WHEN 'pg_snapshot' THEN 'snapshot' ELSE 'known_at' END));
    END LOOP;
END
$function$;

-- Partitions of this month and the next; those that ended before `keep` go, and the oldest while all take more
-- than `max_bytes`. A writer waits for its locks for two seconds at most: then it fails, to be tried again.
CREATE FUNCTION history.maintain(keep interval, max_bytes bigint DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
SET timezone = 'UTC' AS $function$
DECLARE
    tables  text[] := ARRAY(SELECT w.name FROM history.watched w ORDER BY w.name) || 'commits'::text;
    name    text;
    month   timestamptz;
    stop    timestamptz;
    made    text;
    oldest  text;
    largest bigint;
    from_now timestamptz;
BEGIN
    FOREACH month IN ARRAY ARRAY[date_trunc('month', clock_timestamp()),
        date_trunc('month', clock_timestamp()) + interval '1 month'] LOOP
        FOREACH name IN ARRAY tables LOOP
            made := name || to_char(month, '_YYYY_MM');
            CONTINUE WHEN to_regclass(format('history.%I', made)) IS NOT NULL;
            -- What came while it was missing moves along.
            EXECUTE history.filled($text$
                CREATE TABLE history.{made} (LIKE history.{name});
                LOCK TABLE history.{name}_default IN ACCESS EXCLUSIVE MODE;
                WITH moved AS (
                    DELETE FROM history.{name}_default WHERE at >= {from} AND at < {to} RETURNING *
                )
                INSERT INTO history.{made} SELECT * FROM moved;
                ALTER TABLE history.{name} ATTACH PARTITION history.{made} FOR VALUES FROM ({from}) TO ({to});
            $text$, jsonb_build_object('name', name, 'made', made, 'from', quote_literal(month),
                'to', quote_literal(month + interval '1 month')));
            RETURN NEXT 'made ' || made;
        END LOOP;
    END LOOP;
    LOOP
        SELECT min(substr(c.relname, length('commits_') + 1)) INTO oldest
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'history.commits'::regclass AND c.relname ~ '^commits_\d{4}_\d{2}$';
        stop := to_timestamp(oldest, 'YYYY_MM') + interval '1 month';
        EXIT WHEN oldest IS NULL OR stop > date_trunc('month', clock_timestamp());
        EXIT WHEN stop > clock_timestamp() - keep AND (max_bytes IS NULL OR max_bytes >= (
            SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
            WHERE c.relnamespace = 'history'::regnamespace AND c.relkind = 'r'));
        -- A transaction that left events there may have ended later.
        from_now := stop;
        FOREACH name IN ARRAY tables LOOP
            CONTINUE WHEN name = 'commits';
            EXECUTE format('SELECT max(transaction) FROM history.%I WHERE at < %L', name, stop) INTO largest;
            from_now := greatest(from_now, (SELECT max(c.at) FROM history.commits c WHERE c.began <= largest));
        END LOOP;
        DELETE FROM history.spans s WHERE s.known_until < from_now;
        UPDATE history.spans s SET known_from = from_now, began = greatest(s.began,
            (SELECT max(c.ended) FROM history.commits c WHERE c.at <= from_now))
        WHERE s.known_from < from_now;
        FOREACH name IN ARRAY tables LOOP
            EXECUTE format('DROP TABLE IF EXISTS history.%I', name || '_' || oldest);
            EXECUTE format('DELETE FROM history.%I WHERE at < %L', name || '_default', stop);
            RETURN NEXT format('dropped %s_%s', name, oldest);
        END LOOP;
    END LOOP;
END
$function$;
REVOKE EXECUTE ON FUNCTION history.maintain FROM PUBLIC;
