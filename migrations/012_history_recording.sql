-- What records a table: `history.watch` makes its triggers, and what tells of it (013).

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

-- All columns: NULL for those that are volatile, those of the key, the filters and the others as told.
CREATE FUNCTION history.chosen(it history.watched, live regclass, of_key text, of_filters text, of_others text)
RETURNS text LANGUAGE sql STABLE AS $function$
    SELECT string_agg(history.listed(live, ARRAY[c], CASE
        WHEN c = ANY (it.volatile) THEN 'NULL::%2$s'
        WHEN c = ANY (it.key) THEN of_key
        WHEN c = ANY (it.filters) THEN of_filters
        ELSE of_others END), ', ' ORDER BY n)
    FROM unnest(history.columns(live)) WITH ORDINALITY u (c, n)
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
    indexed  text;
    retyped  record;
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
        'same as OLD', history.listed(live, it.key, 'e.%1$I = OLD.%1$I', ' AND '),
        'same as gone', history.listed(live, it.key, 'e.%1$I = gone.%1$I', ' AND '),
        'same as f', history.listed(live, it.key, 'f.%1$I = e.%1$I', ' AND '),
        'tracked of OLD', history.listed(live, tracked, 'OLD.%1$I'),
        'tracked of NEW', history.listed(live, tracked, 'NEW.%1$I'),
        'definitions', history.listed(live, it.key, '%1$I %2$s NOT NULL, ', '')
            || history.listed(live, it.filters, '%1$I %2$s, ', ''));

    IF is_new THEN
        EXECUTE history.filled($text$
            CREATE TABLE {events} (
                number       bigint NOT NULL,
                transaction  bigint NOT NULL,
                at           timestamptz NOT NULL,
                kind         "char" NOT NULL,
                since        bigint,
                {definitions}
                was          jsonb
            ) PARTITION BY RANGE (at);
            CREATE TABLE {events}_default PARTITION OF {events} DEFAULT;
            CREATE INDEX ON {events} ({key}, number);
            CREATE INDEX ON {events} ({key}, number) WHERE kind = 'D';
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
    -- A type that changed: no writer may fail for what history cannot hold.
    FOR retyped IN
        SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type
        FROM pg_attribute a JOIN pg_attribute h ON h.attname = a.attname
        WHERE a.attrelid = live AND a.attname = ANY (copied) AND h.attrelid = format('history.%I', name)::regclass
            AND (a.atttypid, a.atttypmod) IS DISTINCT FROM (h.atttypid, h.atttypmod)
    LOOP
        IF retyped.column = ANY (it.key) THEN
            EXECUTE format('DROP VIEW IF EXISTS history.%I', name || '_changes');
        END IF;
        EXECUTE format('ALTER TABLE history.%1$I ALTER COLUMN %2$I TYPE %3$s USING %2$I::%3$s', name,
            retyped.column, retyped.type);
    END LOOP;

    EXECUTE history.filled($text$
        CREATE OR REPLACE FUNCTION history.record_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            place history.place := history.place();
            since bigint;
            was   jsonb;
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                SELECT e.transaction INTO since FROM {events} e WHERE {same as OLD} ORDER BY e.number DESC LIMIT 1;
            END IF;
            IF TG_OP = 'UPDATE' AND {same key} THEN
                SELECT jsonb_object_agg(o.key, o.value) INTO was
                FROM jsonb_each(to_jsonb(OLD) - {volatile}) o, to_jsonb(NEW) n
                WHERE o.value IS DISTINCT FROM n -> o.key;
                INSERT INTO {events} (number, transaction, at, kind, since, {copied}, was)
                VALUES (place.number, place.transaction, clock_timestamp(), 'U', since, {copied of OLD}, was);
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                INSERT INTO {events} (number, transaction, at, kind, since, {copied}, was)
                VALUES (place.number, place.transaction, clock_timestamp(), 'D', since, {copied of OLD},
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
            now   timestamptz;
            rest  bigint;
        BEGIN
            IF NOT EXISTS (SELECT FROM born) THEN
                RETURN NULL;
            END IF;
            place := history.place();
            -- Of different rows, so they may share a number; but only one of the transaction's events has its own.
            -- In the order of their keys the index is walked along once.
            now := clock_timestamp();
            rest := nextval('history.counter');
            INSERT INTO {events} (number, transaction, at, kind, {key})
            SELECT CASE WHEN row_number() OVER () = 1 THEN place.number ELSE rest END,
                place.transaction, now, 'I', {key}
            FROM (SELECT {key} FROM born ORDER BY {key}) born;
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
                INSERT INTO {events} (number, transaction, at, kind, since, {copied}, was)
                VALUES (place.number, place.transaction, clock_timestamp(), 'D',
                    (SELECT e.transaction FROM {events} e WHERE {same as gone} ORDER BY e.number DESC LIMIT 1),
                    {copied of gone}, to_jsonb(gone) - {volatile});
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

    PERFORM history.watch_as_of(it, live, parts);
END
$function$;
