-- From a time or a snapshot to the transactions that count by then.

CREATE TYPE history.moment AS (last bigint, flying bigint[], lowest bigint);
COMMENT ON TYPE history.moment IS
    'Transactions up to `last` count, but those in `flying`. All below `lowest` count.';

-- The last that had ended by `at`; NULL where the record has none. Times ascend but where the clock stepped
-- back: the last stretch in between that has any. Of those that ended at about the same time the one with the
-- latest time need not be the last: each reads the clock and then draws its number.
CREATE FUNCTION history.ended_by(at timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $function$
    SELECT of_stretch.ended
    FROM (
        SELECT s.ended AS start, s.at - interval '1 second' AS since, lead(s.ended) OVER (ORDER BY s.ended) AS stop
        FROM (SELECT 0, '-infinity' UNION ALL SELECT t.ended, t.at FROM history.steps t) s (ended, at)
    ) stretch
    CROSS JOIN LATERAL (
        SELECT c.at FROM history.commits c
        WHERE c.at <= ended_by.at AND c.at >= stretch.since
            AND c.ended >= stretch.start AND (c.ended < stretch.stop OR stretch.stop IS NULL)
        ORDER BY c.at DESC LIMIT 1
    ) latest
    CROSS JOIN LATERAL (
        SELECT max(c.ended) AS ended FROM history.commits c
        WHERE c.at BETWEEN latest.at - interval '10 seconds' AND latest.at
            AND c.ended >= stretch.start AND (c.ended < stretch.stop OR stretch.stop IS NULL)
    ) of_stretch
    ORDER BY stretch.start DESC LIMIT 1
$function$;

-- Those that had begun by `last` and not ended.
CREATE FUNCTION history.flying(last bigint) RETURNS SETOF history.commits LANGUAGE sql STABLE AS $function$
    SELECT c.* FROM history.commits c
    WHERE c.began BETWEEN last - 1000 AND last AND c.ended > last AND c.ended - c.began <= 1000
    UNION ALL
    SELECT c.* FROM history.commits c
    WHERE int8range(c.began, c.ended) @> last AND c.ended - c.began > 1000
$function$;

CREATE FUNCTION history.of_flying(last bigint, flying bigint[]) RETURNS history.moment LANGUAGE sql STABLE
AS $function$
    SELECT (last, coalesce(array_agg(f), '{}'), coalesce(least(min(f), last + 1), last + 1))::history.moment
    -- What this transaction itself wrote does not count, however it will end.
    FROM unnest(array_append(flying, history.own())) f WHERE f IS NOT NULL
$function$;

-- What was committed by `at`, by the clock of the database, give or take the time that a commit takes.
CREATE FUNCTION history.moment(at timestamptz) RETURNS history.moment LANGUAGE plpgsql STABLE AS $function$
DECLARE
    final history.spans;
    first timestamptz := (SELECT min(s.known_from) FROM history.spans s);
    gap   record;
    last  bigint;
BEGIN
    IF at > clock_timestamp() OR at IS NULL THEN
        RAISE EXCEPTION 'as of % cannot be told: it is in the future', coalesce(at::text, 'NULL')
            USING ERRCODE = 'SH001';
    ELSIF at < first OR first IS NULL THEN
        RAISE EXCEPTION 'as of % is not known: the record begins at %', at, coalesce(first::text, 'no time yet')
            USING ERRCODE = 'SH002';
    END IF;
    SELECT s.* INTO final FROM history.spans s ORDER BY s.began DESC LIMIT 1;
    SELECT found.* INTO gap FROM (
        SELECT s.unknown_since AS since, s.known_from::text AS until FROM history.spans s
        WHERE moment.at > s.unknown_since AND moment.at < s.known_from
        UNION ALL
        SELECT greatest(final.known_from, (SELECT max(c.at) FROM history.commits c)), 'now'
        WHERE final.identity <> history.identity()
    ) found
    WHERE moment.at > found.since LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'as of % is not known: the database was restored or copied between % and %', moment.at,
            gap.since, gap.until USING ERRCODE = 'SH003';
    END IF;
    last := greatest(history.ended_by(at),
        (SELECT max(s.ended) FROM history.spans s WHERE s.known_from <= moment.at));
    RETURN history.of_flying(last, ARRAY(SELECT f.began FROM history.flying(last) f));
END
$function$;

-- Whether `later` sees all that `earlier` does.
CREATE FUNCTION history.includes(later pg_snapshot, earlier pg_snapshot) RETURNS boolean LANGUAGE sql IMMUTABLE
AS $function$
    SELECT pg_snapshot_xmax(later) >= pg_snapshot_xmax(earlier) AND NOT EXISTS (
        SELECT FROM pg_snapshot_xip(later) x WHERE pg_visible_in_snapshot(x, earlier))
$function$;

-- What `snapshot` sees, exactly. The older it is, the longer this takes.
CREATE FUNCTION history.moment(snapshot pg_snapshot) RETURNS history.moment LANGUAGE plpgsql STABLE
AS $function$
DECLARE
    final  history.spans;
    lowest bigint;
    last   bigint;
BEGIN
    SELECT s.* INTO final FROM history.spans s ORDER BY s.began DESC LIMIT 1;
    IF snapshot IS NULL OR NOT history.includes(pg_current_snapshot(), snapshot) THEN
        RAISE EXCEPTION 'as of snapshot % cannot be told: this transaction does not see that much',
            coalesce(snapshot::text, 'NULL') USING ERRCODE = 'SH001';
    ELSIF final.identity <> history.identity() THEN
        RAISE EXCEPTION 'as of snapshot % is not known: the database was restored or copied', snapshot
            USING ERRCODE = 'SH003';
    ELSIF final.seen IS NULL OR NOT history.includes(snapshot, final.seen) THEN
        RAISE EXCEPTION 'as of snapshot % is not known: the record begins at %', snapshot,
            coalesce(final.known_from::text, 'no time yet') USING ERRCODE = 'SH002';
    END IF;
    -- The sum keeps the planner from walking along all of `began`.
    SELECT min(c.began + 0) INTO lowest FROM history.commits c
    WHERE c.xid >= pg_snapshot_xmin(snapshot) AND c.began >= final.began
        AND NOT pg_visible_in_snapshot(c.xid, snapshot);
    IF lowest IS NULL THEN
        RETURN history.of_flying((SELECT c.last_value FROM history.counter c), '{}');
    END IF;
    SELECT coalesce(max(c.began), lowest - 1) INTO last FROM history.commits c
    WHERE c.began >= lowest AND pg_visible_in_snapshot(c.xid, snapshot);
    RETURN history.of_flying(last, ARRAY(
        SELECT c.began FROM history.commits c
        WHERE c.began BETWEEN lowest AND last AND NOT pg_visible_in_snapshot(c.xid, snapshot)));
END
$function$;

-- What tells of a table as of a moment; `parts` are those of `history.watch`.
CREATE FUNCTION history.watch_as_of(it history.watched, live regclass, parts jsonb) RETURNS void LANGUAGE plpgsql
AS $function$
DECLARE
    source   text;
    name     text := it.name;
    named    jsonb := '{}';
    later    text := '%1$s.number >= (SELECT lowest FROM moment) AND (%1$s.transaction > (SELECT last FROM moment)
                        OR %1$s.transaction = ANY ((SELECT flying FROM moment)::bigint[]))';
BEGIN
    parts := parts || jsonb_build_object(
        'from r', history.chosen(it, live, 'r.%1$I', 'r.%1$I', 'r.%1$I'),
        'from e', history.chosen(it, live, 'e.%1$I', 'e.%1$I', 'w.%1$I'),
        'e is later', format(later, 'e'),
        'e is first', format(later, 'e') || ' AND (e.since IS NULL OR e.since <= (SELECT last FROM moment)
                        AND e.since <> ALL ((SELECT flying FROM moment)::bigint[]))',
        'order of k', history.listed(live, it.key, 'k.%1$I'),
        'order of d', history.listed(live, it.key, 'd.%1$I'),
        'row of k', history.listed(live, it.key, 'r.%1$I = k.%1$I', ' AND '),
        'same as k', history.listed(live, it.key, 'e.%1$I = k.%1$I', ' AND '),
        'row of d', history.listed(live, it.key, 'r.%1$I = d.%1$I', ' AND '),
        'same as d', history.listed(live, it.key, 'e.%1$I = d.%1$I', ' AND '),
        'from r or e', history.chosen(it, live, 'k.%1$I',
            'CASE WHEN e.number IS NULL THEN (living.r).%1$I ELSE e.%1$I END', 'w.%1$I'),
        'from d or e', history.chosen(it, live, 'd.%1$I', 'e.%1$I', 'w.%1$I'));
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
        -- of them changed since. What is no more comes from deletions, which are rare.
        EXECUTE history.filled(history.filled($text$
            CREATE OR REPLACE FUNCTION {function}_by_key(known_at {source}) RETURNS SETOF {live}
            LANGUAGE sql STABLE AS $body$
                (WITH moment AS MATERIALIZED ({the moment})
                SELECT {from r or e}
                FROM (SELECT {key} FROM {live} ORDER BY {key}) k
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
                        AND NOT EXISTS (SELECT FROM {live} r WHERE {row of d})
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
