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
