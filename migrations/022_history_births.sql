-- The first rows of very many as of a moment long ago: who came later is passed over in indexes, and neither looked up
-- nor read. While the index is made (a second for a million changes) writers wait.

-- What tells of a table as of a moment, and the index that this takes.
CREATE OR REPLACE FUNCTION history.watch_as_of(it history.watched, live regclass, parts jsonb) RETURNS void LANGUAGE plpgsql
AS $function$
DECLARE
    source   text;
    name     text := it.name;
    named    jsonb := '{}';
    -- Of a range PostgreSQL expects little, of one bound a third of all events, for which it would put the living
    -- rows on disk.
    later    text := '%1$s.number BETWEEN (SELECT lowest FROM moment) AND 9223372036854775807 AND (%1$s.transaction > (SELECT last FROM moment)
                        OR %1$s.transaction = ANY ((SELECT flying FROM moment)::bigint[]))';
    -- Of a birth the index has the transaction: its number need not be looked at.
    later_birth text := '%1$s.transaction > (SELECT last FROM moment)
                        OR %1$s.transaction = ANY ((SELECT flying FROM moment)::bigint[])';
BEGIN
    parts := parts || jsonb_build_object(
        'live', format('public.%I', name),
        'events', format('history.%I', name),
        'births', name || '_births',
        'key', history.listed(live, it.key, '%1$I'),
        'same row', history.listed(live, it.key, 'r.%1$I = e.%1$I', ' AND '),
        'same as f', history.listed(live, it.key, 'f.%1$I = e.%1$I', ' AND '),
        'from r', history.chosen(it, live, 'r.%1$I', 'r.%1$I', 'r.%1$I'),
        'from e', history.chosen(it, live, 'e.%1$I', 'e.%1$I', 'w.%1$I'),
        'e is later', format(later, 'e'),
        'b is later', format(later_birth, 'b'),
        'e is first', format(later, 'e') || ' AND (e.since IS NULL OR e.since <= (SELECT last FROM moment)
                        AND e.since <> ALL ((SELECT flying FROM moment)::bigint[]))',
        'key of b', history.listed(live, it.key, 'b.%1$I'),
        'key of r', history.listed(live, it.key, 'r.%1$I'),
        'birth of d', history.listed(live, it.key, 'b.%1$I = d.%1$I', ' AND '),
        'order of k', history.listed(live, it.key, 'k.%1$I'),
        'order of d', history.listed(live, it.key, 'd.%1$I'),
        'row of k', history.listed(live, it.key, 'r.%1$I = k.%1$I', ' AND '),
        'same as k', history.listed(live, it.key, 'e.%1$I = k.%1$I', ' AND '),
        'row of d', history.listed(live, it.key, 'r.%1$I = d.%1$I', ' AND '),
        'same as d', history.listed(live, it.key, 'e.%1$I = d.%1$I', ' AND '),
        'from r or e', history.chosen(it, live, 'k.%1$I',
            'CASE WHEN e.number IS NULL THEN (living.r).%1$I ELSE e.%1$I END', 'w.%1$I'),
        'from d or e', history.chosen(it, live, 'd.%1$I', 'e.%1$I', 'w.%1$I'));
    EXECUTE history.filled($text$
        CREATE INDEX IF NOT EXISTS {births} ON {events} ({key}, transaction) WHERE kind = 'I'
    $text$, parts);

    -- Of an event the next deletion has all that was, and until then each one what it changed. Where there is
    -- no event, this is the row that is.
    parts := parts || jsonb_build_object('was', history.filled($text$
                CROSS JOIN LATERAL (
                    SELECT min(f.number) AS number FROM {events} f
                    WHERE {same as f} AND f.number >= e.number AND f.kind = 'D'
                ) gone
                CROSS JOIN LATERAL jsonb_populate_record(
                    CASE WHEN gone.number IS NULL THEN {living} END,
                    (SELECT history.merged(f.was ORDER BY f.number DESC) FROM {events} f
                     WHERE {same as f} AND f.kind <> 'I' AND f.number BETWEEN e.number
                        AND coalesce(gone.number, 9223372036854775807))
                ) w$text$, parts));

    -- The moment is found even where no row is: one that is not known is an error. In the schema `history` the same
    -- functions take a moment that was found before, for who asks several questions of it in one transaction: with
    -- what `history.moment` locked until its end, nothing of the moment is dropped meanwhile.
    FOREACH source IN ARRAY ARRAY['timestamptz', 'pg_snapshot', 'history.moment'] LOOP
        named := named || jsonb_build_object('source', source,
            'function', CASE source WHEN 'history.moment' THEN 'history.' ELSE 'public.' END || name || '_as_of',
            'suffix', CASE source WHEN 'pg_snapshot' THEN '_snapshot' ELSE '' END,
            'argument', CASE source WHEN 'pg_snapshot' THEN 'snapshot' ELSE 'known_at' END,
            'the moment', CASE source WHEN 'history.moment' THEN 'SELECT (known_at).*'
                WHEN 'pg_snapshot' THEN 'SELECT * FROM history.moment(snapshot)'
                ELSE 'SELECT * FROM history.moment(known_at)' END);
        EXECUTE history.filled(history.filled($text$
            CREATE OR REPLACE FUNCTION {function}{suffix}({argument} {source}) RETURNS SETOF {live}
            LANGUAGE sql STABLE AS $body$
                (WITH moment AS MATERIALIZED ({the moment})
                SELECT {from r}
                FROM {live} r
                WHERE (SELECT last FROM moment) IS NOT NULL AND NOT EXISTS (
                    SELECT FROM {events} e WHERE {same row} AND {e is first}))
                UNION ALL
                (WITH moment AS MATERIALIZED ({the moment})
                SELECT {from e}
                FROM {events} e
                {was}
                WHERE e.kind <> 'I' AND {e is first})
            $body$;
        $text$, parts), named || jsonb_build_object(
            'living', history.filled('(SELECT r FROM {live} r WHERE {same row})', parts)));
        CONTINUE WHEN source = 'pg_snapshot';

        -- The same rows in the order of their keys, one after the other: for the first few of very many, whichever
        -- of them changed since. Those that came later are passed over in two indexes that are walked along
        -- together: where a condition is on the key, as a cursor's is, both begin there. What has been deleted
        -- since, and may have come again, comes from deletions, which are rare.
        EXECUTE history.filled(history.filled($text$
            CREATE OR REPLACE FUNCTION {function}_by_key(known_at {source}) RETURNS SETOF {live}
            LANGUAGE sql STABLE AS $body$
                (WITH moment AS MATERIALIZED ({the moment})
                SELECT {from r or e}
                FROM (
                    SELECT {key} FROM (
                        SELECT {key of r}, true AS was_there FROM {live} r
                        UNION ALL
                        -- All of them, so that neither index runs ahead of the other.
                        (SELECT {key of b}, ({b is later}) IS NOT TRUE FROM {events} b WHERE b.kind = 'I'
                         ORDER BY {key of b})
                    ) u
                    -- Aggregated in this order it is never hashed, which would read all keys first.
                    GROUP BY {key} HAVING bool_and(was_there ORDER BY {key}) ORDER BY {key}
                ) k
                -- Looked up one by one, or the planner would rather read and sort everything.
                CROSS JOIN LATERAL (SELECT r FROM {live} r WHERE {row of k} LIMIT 1) living
                LEFT JOIN LATERAL (
                    SELECT e.* FROM {events} e WHERE {same as k} AND {e is later} ORDER BY e.number LIMIT 1
                ) e ON true
                {was}
                WHERE (SELECT last FROM moment) IS NOT NULL AND e.kind IS DISTINCT FROM 'I'
                ORDER BY {order of k})
                UNION ALL
                (WITH moment AS MATERIALIZED ({the moment})
                SELECT {from d or e}
                FROM (
                    SELECT DISTINCT {order of d} FROM {events} d
                    WHERE d.kind = 'D' AND d.number >= (SELECT lowest FROM moment)
                        -- Looked up one by one, too: EXISTS would be hashed.
                        AND ((SELECT true FROM {live} r WHERE {row of d} LIMIT 1) IS NULL
                            OR (SELECT true FROM {events} b
                                WHERE {birth of d} AND b.kind = 'I' AND ({b is later}) LIMIT 1))
                ) d
                CROSS JOIN LATERAL (
                    SELECT e.* FROM {events} e WHERE {same as d} AND {e is later} ORDER BY e.number LIMIT 1
                ) e
                CROSS JOIN (SELECT NULL::{live} AS r) living
                {was}
                WHERE e.kind <> 'I'
                ORDER BY {order of d})
            $body$;
        $text$, parts), named || '{"living": "living.r"}');
    END LOOP;
END
$function$;

-- Nothing waits for a lock while it holds another: a writer that does the same could be the one that fails.
DO $migration$
DECLARE
    give_up timestamptz := clock_timestamp() + interval '5 minutes';
    name    text;
BEGIN
    LOOP
        BEGIN
            FOR name IN SELECT w.name FROM history.watched w LOOP
                EXECUTE format('LOCK TABLE history.%I IN SHARE MODE NOWAIT', name);
            END LOOP;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > give_up THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.01);
    END LOOP;
    PERFORM history.watch_as_of(w, format('public.%I', w.name)::regclass, '{}') FROM history.watched w;
END
$migration$;
