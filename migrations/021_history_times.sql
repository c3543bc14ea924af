-- What refuses a moment spells times as the API and the stream do (docs/contracts.md § 2), whatever the session's
-- time zone and DateStyle are.

-- RFC 3339 in UTC, with a fraction only where there is one; before the year 0 and after 9999 with a sign.
CREATE FUNCTION history.spelled(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $function$
    SELECT CASE WHEN NOT isfinite(at) THEN at::text
        ELSE CASE WHEN year < 0 THEN '-' WHEN year > 9999 THEN '+' ELSE '' END
            || lpad(abs(year)::text, greatest(4, length(abs(year)::text)), '0')
            || to_char(utc, '-MM-DD"T"HH24:MI:SS') || rtrim(to_char(utc, '.US'), '.0') || 'Z' END
    FROM (
        -- PostgreSQL has no year 0: 1 BC is -1 to it.
        SELECT utc, (extract(year FROM utc) + (extract(year FROM utc) < 0)::integer)::integer AS year
        FROM (SELECT at AT TIME ZONE 'UTC' AS utc) t
    ) u
$function$;

-- What was committed by `at`, by the clock of the database, give or take the time that a commit takes.
CREATE OR REPLACE FUNCTION history.moment(at timestamptz) RETURNS history.moment LANGUAGE plpgsql STABLE AS $function$
DECLARE
    final history.spans;
    first timestamptz := (SELECT min(s.known_from) FROM history.spans s);
    gap   record;
    last  bigint;
BEGIN
    IF at > clock_timestamp() OR at IS NULL THEN
        RAISE EXCEPTION 'as of % cannot be told: it is in the future', coalesce(history.spelled(at), 'NULL')
            USING ERRCODE = 'SH001';
    ELSIF at < first OR first IS NULL THEN
        RAISE EXCEPTION 'as of % is not known: the record begins at %', history.spelled(at),
            coalesce(history.spelled(first), 'no time yet') USING ERRCODE = 'SH002';
    END IF;
    SELECT s.* INTO final FROM history.spans s ORDER BY s.began DESC LIMIT 1;
    SELECT found.* INTO gap FROM (
        SELECT s.unknown_since AS since, history.spelled(s.known_from) AS until FROM history.spans s
        WHERE moment.at > s.unknown_since AND moment.at < s.known_from
        UNION ALL
        SELECT greatest(final.known_from, (SELECT max(c.at) FROM history.commits c)), 'now'
        WHERE final.identity <> history.identity()
    ) found
    WHERE moment.at > found.since LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'as of % is not known: the database was restored or copied between % and %',
            history.spelled(moment.at), history.spelled(gap.since), gap.until USING ERRCODE = 'SH003';
    END IF;
    last := greatest(history.ended_by(at),
        (SELECT max(s.ended) FROM history.spans s WHERE s.known_from <= moment.at));
    RETURN history.of_flying(last, ARRAY(SELECT f.began FROM history.flying(last) f));
END
$function$;

-- What `snapshot` sees, exactly. The older it is, the longer this takes.
CREATE OR REPLACE FUNCTION history.moment(snapshot pg_snapshot) RETURNS history.moment LANGUAGE plpgsql STABLE
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
            coalesce(history.spelled(final.known_from), 'no time yet') USING ERRCODE = 'SH002';
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
