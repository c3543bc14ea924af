-- Partitions by month of the event: made ahead, and dropped when they are old or too large.

-- Does what `history.maintain` says, or nothing: lock_not_available where a lock is not free at once. Who
-- holds one and waits for another could meet a writer that does the same, and one of both would fail.
CREATE FUNCTION history.maintain_now(keep interval, max_bytes bigint) RETURNS SETOF text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $function$
DECLARE
    tables    text[] := ARRAY(SELECT w.name FROM history.watched w ORDER BY w.name) || 'commits'::text;
    this      timestamptz := date_trunc('month', clock_timestamp());
    name      text;
    month     timestamptz;
    stop      timestamptz;
    made      text;
    oldest    text;
    first     history.commits;
    known     timestamptz;
    is_locked boolean := false;
BEGIN
    FOREACH month IN ARRAY ARRAY[this, this + interval '1 month'] LOOP
        FOREACH name IN ARRAY tables LOOP
            made := name || to_char(month, '_YYYY_MM');
            CONTINUE WHEN to_regclass(format('history.%I', made)) IS NOT NULL;
            -- What came while it was missing moves along.
            EXECUTE history.filled($text$
                LOCK TABLE ONLY history.{name} IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
                LOCK TABLE history.{name}_default IN ACCESS EXCLUSIVE MODE NOWAIT;
                CREATE TABLE history.{made} (LIKE history.{name});
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
        EXIT WHEN oldest IS NULL OR stop > this;
        EXIT WHEN stop > clock_timestamp() - keep AND (max_bytes IS NULL OR max_bytes >= history.bytes());
        IF NOT is_locked THEN
            FOREACH name IN ARRAY tables LOOP
                EXECUTE format('LOCK TABLE history.%I IN ACCESS EXCLUSIVE MODE NOWAIT', name);
            END LOOP;
            is_locked := true;
        END IF;
        -- Who left events there may have ended later: the record begins when all of them had. None is under
        -- way, because of the locks.
        SELECT c.* INTO first FROM history.commits c
        WHERE c.at >= stop AND c.ended >= (SELECT coalesce(max(s.ended), 0) FROM history.steps s)
        ORDER BY c.at LIMIT 1;
        known := stop;
        FOREACH name IN ARRAY tables LOOP
            CONTINUE WHEN name = 'commits';
            EXECUTE history.filled($text$
                SELECT greatest({known}, max(c.at)) FROM history.flying({last}) c WHERE EXISTS (
                    SELECT FROM history.{name} e
                    WHERE e.at < {stop} AND e.number >= c.began AND e.transaction = c.began)
            $text$, jsonb_build_object('name', name, 'known', quote_literal(known) || '::timestamptz',
                'stop', quote_literal(stop), 'last', quote_nullable(first.ended - 1) || '::bigint')) INTO known;
        END LOOP;
        DELETE FROM history.spans s
        USING history.spans later WHERE later.began > s.began AND later.known_from <= known;
        UPDATE history.spans s SET known_from = known, unknown_since = NULL,
            ended = greatest(s.ended, history.ended_by(known)),
            seen = coalesce((
                SELECT format('%1$s:%1$s:', c.xid::text::numeric + 1)::pg_snapshot FROM history.commits c
                WHERE c.at <= known AND c.began >= s.began ORDER BY c.xid DESC LIMIT 1), s.seen)
        WHERE s.known_from < known;
        FOREACH name IN ARRAY tables LOOP
            EXECUTE format('DROP TABLE IF EXISTS history.%I', name || '_' || oldest);
            EXECUTE format('DELETE FROM history.%I WHERE at < %L', name || '_default', stop);
            RETURN NEXT format('dropped %s_%s', name, oldest);
        END LOOP;
    END LOOP;
END
$function$;

-- What the record takes on disk.
CREATE FUNCTION history.bytes() RETURNS bigint LANGUAGE sql STABLE AS $function$
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
    WHERE c.relnamespace = 'history'::regnamespace AND c.relkind = 'r'
$function$;

-- Make partitions of this month and the next; drop those that ended before `keep`, and the oldest while all
-- take more than `max_bytes`, but never this month's. What was made and dropped. Where locks were not free for
-- all of `patience`: lock_not_available, and nothing was done.
CREATE FUNCTION history.maintain(
    keep interval, max_bytes bigint DEFAULT NULL, patience interval DEFAULT '10 seconds'
) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    give_up timestamptz := clock_timestamp() + patience;
BEGIN
    LOOP
        BEGIN
            RETURN QUERY SELECT history.maintain_now(keep, max_bytes);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > give_up THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$function$;
REVOKE EXECUTE ON FUNCTION history.maintain FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION history.maintain_now FROM PUBLIC;
